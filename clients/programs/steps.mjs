// What each Node client does when it is asked to: the questions are lines of JSON on standard input, one answer
// in JSON each. `connect({url, token, mode})` is the client's own way in; it gives an object with
//   protocol, tools() -> names, call(name, arguments, {onprogress, signal}) -> text, close()
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { sent } from './sent.mjs';

export async function serve(connect) {
  for await (const line of createInterface({ input: process.stdin })) {
    const question = JSON.parse(line);
    const answer = {};
    try {
      await go(connect, question, answer);
    } catch (error) {
      answer.error = shown(error);
    }
    await sleep(50); // what a client still sends after its close
    console.log(JSON.stringify({ ...answer, sent: sent() }));
  }
}

async function go(connect, question, answer) {
  const client = await connect(question);
  try {
    answer.protocol = client.protocol;
    answer.tools = await client.tools();
    answer.greeting = await client.call('greet', { name: question.name });
    answer.refusal = await client.call('erase', { name: question.name }).catch(shown);
    if (question.long) {
      answer.progress = await progress(client);
      answer.abort = await abort(client);
    }
  } finally {
    await client.close();
  }
}

/** Milliseconds before the call's end at which each progress notification was seen, and the result. */
async function progress(client) {
  const times = [];
  const text = await client.call('count', { to: 4 }, { onprogress: () => times.push(Date.now()) });
  const end = Date.now();
  return { before_end_ms: times.map((time) => end - time), text };
}

/** Aborts a call of some ten seconds at its first progress; `at` is in seconds since 1970. */
async function abort(client) {
  const controller = new AbortController();
  let at;
  const onprogress = () => {
    at ??= Date.now() / 1000;
    controller.abort('the user pressed stop');
  };
  const seen = await client.call('count', { to: 100 }, { onprogress, signal: controller.signal }).catch(shown);
  await sleep(300); // time to arrive before the connection is closed
  return { at, seen };
}

/** What a user sees of an error. */
const shown = (error) => `${error.constructor.name}: ${error.message}`;
