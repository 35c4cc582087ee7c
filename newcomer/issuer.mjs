// The newcomer's issuer: oidc-provider below a path, with access tokens shaped as Keycloak shapes them. `aud` is
// a name and not the resource's URL, groups stand in `realm_access.roles`, `typ` is JWT, the algorithm PS256.
// It stands in for a Keycloak, which no package registry has. Its secrets are public: for this run only.
import { generateKeyPair, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { promisify } from 'node:util';
import { Provider } from 'oidc-provider';

const PORT = Number(process.env.PORT);
const REALM = '/realms/ledger';
const ISSUER = `http://127.0.0.1:${PORT}${REALM}`;
const ROLES = { clara: ['clerk', 'offline_access'], otto: ['auditor'] };

const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'PS256', use: 'sig' };

const provider = new Provider(ISSUER, {
  jwks: { keys: [key] },
  scopes: [],
  clients: Object.keys(ROLES).map((name) => ({
    client_id: name,
    client_secret: `${name}-secret`,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: 'PS256',
  })),
  enabledJWA: { idTokenSigningAlgValues: ['PS256'] },
  routes: {
    jwks: '/protocol/openid-connect/certs',
    token: '/protocol/openid-connect/token',
  },
  formats: {
    customizers: {
      jwt(_ctx, token, jwt) {
        jwt.header = { typ: 'JWT' };
        jwt.payload.azp = token.clientId;
        jwt.payload.realm_access = { roles: ROLES[token.clientId] };
        delete jwt.payload.client_id;
      },
    },
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:ledger',
      // As Keycloak does: whatever resource is asked for, `aud` is what the realm says.
      getResourceServerInfo: () => ({
        audience: 'ledger-api',
        scope: '',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 300,
        jwt: { sign: { alg: 'PS256' } },
      }),
    },
  },
});
provider.on('server_error', (_ctx, error) => console.error(error));

// Below the realm's path; everything else is not there.
const answer = provider.callback();
const server = createServer((req, res) => {
  if (!req.url.startsWith(`${REALM}/`)) return res.writeHead(404).end();
  req.originalUrl = req.url;
  req.url = req.url.slice(REALM.length);
  return answer(req, res);
});
server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
server.listen(PORT, '127.0.0.1', () => console.log(`issuer ready: ${ISSUER}`));
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
  });
}
