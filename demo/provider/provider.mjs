// OpenID provider of the demo: client_credentials with resource indicators (RFC 8707), token exchange (RFC 8693, by
// exchange.mjs), access tokens as signed JWTs (RFC 9068). Keys are made anew at each start. What the token endpoint
// gave and refused goes to the file $SEEN, where one is named, a line of JSON each.
// It has no users, no consent and no storage, and its client secrets are public:
// never use it for anything but this demo.
import { generateKeyPair, randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { errors, Provider } from 'oidc-provider';
import { addTokenExchange, TOKEN_EXCHANGE } from './exchange.mjs';

const PORT = Number(process.env.PORT ?? 9400);
const HOST = process.env.HOST ?? '127.0.0.1'; // in a container, all of its own addresses
const ISSUER = `http://127.0.0.1:${PORT}`;
const RESOURCES = [
  'http://127.0.0.1:10000/mcp',
  'http://127.0.0.1:10001/mcp', // the second gate
  'https://other.example.com/mcp', // for a token that is genuine, but meant for somebody else
];

// What the gateway may exchange whose token for.
const UPSTREAMS = {
  'https://staging.example.com': ['dana', 'sam'],
  'https://prod.example.com': ['sam'],
};
const SCOPE = 'mcp:read mcp:write';

// Who may ask for a token, and what the token says.
const CLIENTS = {
  dana: { groups: ['dev'], alg: 'RS256', seconds: 300 },
  sam: { groups: ['sre', 'dev'], alg: 'ES256', seconds: 300 },
  brief: { groups: ['dev'], alg: 'ES256', seconds: 1 }, // tokens that have soon expired
};

async function signingKey(alg, type, options) {
  const { privateKey } = await promisify(generateKeyPair)(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg, use: 'sig' };
}

const keys = await Promise.all([
  signingKey('RS256', 'rsa', { modulusLength: 2048 }),
  signingKey('ES256', 'ec', { namedCurve: 'P-256' }),
]);

const provider = new Provider(ISSUER, {
  jwks: { keys },
  scopes: SCOPE.split(' '),
  clients: [...Object.keys(CLIENTS), 'gateway'].map((name) => ({
    client_id: name,
    client_secret: `${name}-secret`,
    grant_types: [name === 'gateway' ? TOKEN_EXCHANGE : 'client_credentials'],
    redirect_uris: [],
    response_types: [],
  })),
  extraTokenClaims: (_ctx, token) => token.extra ?? { groups: CLIENTS[token.clientId].groups },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCES[0],
      getResourceServerInfo(_ctx, resource, client) {
        if (!RESOURCES.includes(resource)) throw new errors.InvalidTarget();
        const { alg, seconds } = CLIENTS[client.clientId];
        return {
          audience: resource,
          scope: SCOPE,
          accessTokenFormat: 'jwt',
          accessTokenTTL: seconds,
          jwt: { sign: { alg } },
        };
      },
    },
  },
});
addTokenExchange(provider, { issuer: ISSUER, keys, resources: UPSTREAMS, seconds: 300 });

const saw = (event, ctx, details) => {
  if (!process.env.SEEN) return;
  const { grant_type: grant, resource, scope } = ctx.oidc.params ?? {};
  appendFileSync(process.env.SEEN, `${JSON.stringify({ event, grant, resource, scope, ...details })}\n`);
};
provider.on('grant.success', (ctx) => saw('issued', ctx));
provider.on('grant.error', (ctx, error) => saw('refused', ctx, { error: error.message }));
provider.on('server_error', (_ctx, error) => console.error(error));

const server = provider.listen(PORT, HOST, () => console.log(`provider ready: ${ISSUER}`));
server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
  });
}
