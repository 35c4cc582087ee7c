// MCP server that knows the legacy revisions only, on the official TypeScript SDK 1.x, with the tools of dual.py.
// It checks no caller: that is the gate's work. What arrives and what ends early goes to the file $SEEN, as there.
import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';

const MS_A_STEP = 100;
const { PORT, SEEN } = process.env;
const saw = (event, details) => appendFileSync(SEEN, `${JSON.stringify({ at: Date.now() / 1000, event, ...details })}\n`);
const text = (words) => ({ content: [{ type: 'text', text: words }] });

function newServer() {
  const server = new McpServer({ name: 'clients-legacy', version: '1' });
  const named = { name: z.string() };
  server.registerTool('greet', { inputSchema: named }, ({ name }) => text(`hello, ${name}`));
  // No rule is about it, and nobody sees it.
  server.registerTool('forget', {}, () => text('everybody is forgotten'));
  server.registerTool('erase', { inputSchema: named }, ({ name }) => text(`${name} is erased`));
  server.registerTool('count', { inputSchema: { to: z.number().int() } }, async ({ to }, call) => {
    const progressToken = call._meta?.progressToken;
    for (let number = 1; number <= to; number++) {
      try {
        await sleep(MS_A_STEP, undefined, { signal: call.signal });
      } catch (error) {
        saw('stopped', { tool: 'count' });
        throw error;
      }
      if (progressToken !== undefined) {
        const params = { progressToken, progress: number, total: to };
        await call.sendNotification({ method: 'notifications/progress', params });
      }
    }
    return text(`counted to ${to}`);
  });
  return server;
}

const sessions = new Map();

async function open() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  transport.onclose = () => sessions.delete(transport.sessionId);
  await newServer().connect(transport);
  return transport;
}

const app = createMcpExpressApp();
app.all('/mcp', async (req, res) => {
  const message = { http: req.method, method: req.body?.method, tool: req.body?.params?.name };
  saw('arrived', message);
  res.on('close', () => res.writableFinished || saw('left', message));

  const id = req.headers['mcp-session-id'];
  let transport = sessions.get(id);
  if (!transport && id === undefined && isInitializeRequest(req.body)) transport = await open();
  if (!transport) {
    const error = { code: -32000, message: 'Bad Request: no valid session ID' };
    return res.status(id === undefined ? 400 : 404).json({ jsonrpc: '2.0', error, id: null });
  }
  await transport.handleRequest(req, res, req.body);
});
app.listen(Number(PORT), '127.0.0.1');
