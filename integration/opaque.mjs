// An OpenID provider whose access tokens are opaque, with introspection (RFC 7662) and revocation (RFC 7009): the real
// one of the demo, set up otherwise. Run by integration/introspection.rs; its secrets are public.
import { Provider } from '../demo/provider/node_modules/oidc-provider/lib/index.js';

const PORT = Number(process.env.PORT);
const RESOURCE = process.env.RESOURCE;

const client = (name, grants) => ({
  client_id: name,
  client_secret: `${name}-secret`,
  grant_types: grants,
  redirect_uris: [],
  response_types: [],
});

const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: [client('dana', ['client_credentials']), client('gate', ['client_credentials'])],
  scopes: ['mcp:read'],
  extraTokenClaims: () => ({ groups: ['dev'] }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      getResourceServerInfo: (_ctx, resource) => ({
        audience: resource,
        scope: 'mcp:read',
        accessTokenFormat: 'opaque',
        accessTokenTTL: 300,
      }),
    },
  },
});
provider.on('server_error', (_ctx, error) => console.error(error));
provider.listen(PORT, '127.0.0.1');
