// Logging in with the official TypeScript SDK 1.x.
import { ClientCredentialsProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { run } from './login.mjs';

const finish = (transport, answer) => transport.finishAuth(answer.get('code'));

await run(
  ClientCredentialsProvider,
  async (url, authProvider) => {
    const transport = new StreamableHTTPClientTransport(url, { authProvider });
    const client = new Client({ name: 'login1', version: '1' });
    await client.connect(transport).catch((error) => Promise.reject(Object.assign(error, { transport })));
    return { client, transport };
  },
  finish,
);
