// Counts the HTTP requests that this process sends to the origin $ORIGIN, by HTTP method, whichever of Node's
// two HTTP clients makes them. As a preload it writes the counts to the file $SENT when the process ends.
import { subscribe } from 'node:diagnostics_channel';
import { writeFileSync } from 'node:fs';

const { ORIGIN, SENT } = process.env;
const { host } = new URL(ORIGIN);
let counts = {};

const count = (method) => {
  counts[method] = (counts[method] ?? 0) + 1;
};
// fetch, and the package undici
subscribe('undici:request:create', ({ request }) => {
  if (String(request.origin) === ORIGIN) count(request.method);
});
// node:http
subscribe('http.client.request.created', ({ request }) => {
  if (request.getHeader('host') === host) count(request.method);
});
if (SENT) process.on('exit', () => writeFileSync(SENT, JSON.stringify(counts)));

/** What was sent since the last time, as `{POST: 3}`. */
export function sent() {
  const before = counts;
  counts = {};
  return before;
}
