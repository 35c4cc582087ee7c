// The official TypeScript SDK 2.x, in its three modes: legacy, auto, and pinned to a revision.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { serve } from './steps.mjs';

await serve(async ({ url, token, mode }) => {
  const pinned = { pin: '2026-07-28' };
  const versionNegotiation = { mode: mode === 'modern' ? pinned : mode };
  const client = new Client({ name: 'ts2', version: '1' }, { versionNegotiation });
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: { token: async () => token } });
  await client.connect(transport);
  return {
    protocol: client.getNegotiatedProtocolVersion(),
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    async call(name, args, options) {
      const result = await client.callTool({ name, arguments: args }, options);
      return result.content[0].text;
    },
    async close() {
      await transport.terminateSession();
      await client.close();
    },
  };
});
