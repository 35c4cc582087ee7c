// Logging in with the official TypeScript SDK 2.x, in the mode $MODE.
import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { run } from './login.mjs';

const versionNegotiation = { mode: process.env.MODE };
const finish = (transport, answer) => transport.finishAuth(answer);

await run(
  ClientCredentialsProvider,
  async (url, authProvider) => {
    const transport = new StreamableHTTPClientTransport(url, { authProvider });
    const client = new Client({ name: 'login2', version: '1' }, { versionNegotiation });
    await client.connect(transport).catch((error) => Promise.reject(Object.assign(error, { transport })));
    return { client, transport };
  },
  finish,
);
