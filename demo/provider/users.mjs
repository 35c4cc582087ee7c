// OpenID provider for clients that log a user in: authorization code with PKCE, dynamic registration, scopes by
// resource (RFC 8707), and one client with a secret. Its one user, dana, is logged in and approves at once.
// $RESOURCES: what tokens are given for, and their scopes, as {"https://...": "a b"}; what happens goes to the
// file $SEEN, a line of JSON each. For tests only.
import { generateKeyPair, randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { errors, Provider } from 'oidc-provider';

const { SEEN } = process.env;
const PORT = Number(process.env.PORT);
const ISSUER = `http://127.0.0.1:${PORT}`;
const RESOURCES = JSON.parse(process.env.RESOURCES);
const USER = 'dana';

const saw = (event, details) => appendFileSync(SEEN, `${JSON.stringify({ event, ...details })}\n`);

const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };

/** Everything that was asked for. */
async function approve(ctx) {
  const { client, session, resourceServers, params } = ctx.oidc;
  const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(params.scope ?? '');
  for (const resource of Object.keys(resourceServers)) grant.addResourceScope(resource, params.scope ?? '');
  await grant.save();
  return grant;
}

const provider = new Provider(ISSUER, {
  jwks: { keys: [key] },
  scopes: ['openid', ...new Set(Object.values(RESOURCES).join(' ').split(' '))],
  clients: [
    {
      client_id: 'robot',
      client_secret: 'robot-secret',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
  ],
  // A client that registers names the scopes of that day; it may ask for others later.
  extraClientMetadata: {
    properties: ['scope'],
    validator(_ctx, name, _value, metadata) {
      if (name === 'scope') delete metadata.scope;
    },
  },
  findAccount: (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  loadExistingGrant: approve,
  interactions: { url: (_ctx, interaction) => `/login/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_ctx, resource) {
        if (!Object.hasOwn(RESOURCES, resource)) throw new errors.InvalidTarget();
        return {
          audience: resource,
          scope: RESOURCES[resource],
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'RS256' } },
        };
      },
    },
  },
});
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/login/')) return next();
  ctx.respond = false;
  return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: USER }, consent: {} });
});

const asked = (ctx) => ({ scope: ctx.oidc.params.scope ?? '', resource: ctx.oidc.params.resource ?? '' });
provider.on('registration_create.success', (_ctx, client) => saw('registered', { client: client.clientId }));
provider.on('authorization.success', (ctx) => saw('authorized', { client: ctx.oidc.client.clientId, ...asked(ctx) }));
provider.on('grant.success', (ctx) =>
  saw('token', { client: ctx.oidc.client.clientId, grant: ctx.oidc.params.grant_type, ...asked(ctx) }),
);
for (const event of ['authorization.error', 'grant.error', 'registration_create.error', 'server_error']) {
  provider.on(event, (_ctx, error) => console.error(event, error.message, error.error_description ?? error.stack));
}

const server = provider.listen(PORT, '127.0.0.1', () => console.log(`provider ready: ${ISSUER}`));
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
