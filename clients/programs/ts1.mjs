// The official TypeScript SDK 1.x, which knows the legacy revisions only.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { serve } from './steps.mjs';

await serve(async ({ url, token }) => {
  const headers = { Authorization: `Bearer ${token}` };
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  const client = new Client({ name: 'ts1', version: '1' });
  await client.connect(transport);
  return {
    protocol: transport.protocolVersion,
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    async call(name, args, options) {
      const result = await client.callTool({ name, arguments: args }, undefined, options);
      return result.content[0].text;
    },
    async close() {
      await transport.terminateSession();
      await client.close();
    },
  };
});
