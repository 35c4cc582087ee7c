// Token exchange (RFC 8693) for the provider beside this file, which has no such grant of its own. Request and answer
// are the RFC's; who may exchange what is a table here.
import { createPublicKey, verify } from 'node:crypto';
import { errors } from 'oidc-provider';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const PARAMETERS = ['subject_token', 'subject_token_type', 'requested_token_type', 'resource', 'audience', 'scope'];

/** The claims of an access token that this provider signed, if it counts still. */
function claimsOf(token, keys, issuer) {
  const [header, claims, signature] = token.split('.');
  const { alg, kid, typ } = JSON.parse(Buffer.from(header, 'base64url'));
  const jwk = keys.find((key) => key.kid === kid && key.alg === alg);
  if (!jwk || typ !== 'at+jwt') throw new Error('no access token of this provider');
  const key = createPublicKey({ key: jwk, format: 'jwk' });
  const data = Buffer.from(`${header}.${claims}`);
  if (!verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'))) {
    throw new Error('the signature is wrong');
  }
  const payload = JSON.parse(Buffer.from(claims, 'base64url'));
  if (payload.iss !== issuer || payload.exp <= Date.now() / 1000) throw new Error('it does not count');
  return payload;
}

/**
 * Adds the grant. `keys`: the provider's own, as JWKs; `resources`: for which resource whom, by `sub`, a token is
 * given; `seconds`: how long it counts.
 */
export function addTokenExchange(provider, { issuer, keys, resources, seconds }) {
  provider.registerGrantType(
    TOKEN_EXCHANGE,
    async (ctx) => {
      const { subject_token, subject_token_type, requested_token_type, resource, audience, scope } = ctx.oidc.params;
      if (!subject_token || ![ACCESS_TOKEN, JWT].includes(subject_token_type)) {
        throw new errors.InvalidRequest('subject_token and its type are needed');
      }
      if (requested_token_type && requested_token_type !== ACCESS_TOKEN) {
        throw new errors.InvalidRequest('there are access tokens only');
      }
      let subject;
      try {
        subject = claimsOf(subject_token, keys, issuer);
      } catch (error) {
        throw new errors.InvalidGrant(error.message);
      }
      const [target] = [].concat(resource ?? audience ?? []);
      if (!resources[target]?.includes(subject.sub)) throw new errors.InvalidTarget();
      // Never more than the subject has.
      const had = (subject.scope ?? '').split(' ');
      const granted = (scope ?? subject.scope ?? '').split(' ').filter((name) => name && had.includes(name));
      const { client } = ctx.oidc;
      const token = new provider.AccessToken({ accountId: subject.sub, client, grantId: 'exchange' });
      token.gty = 'token-exchange';
      token.scope = granted.join(' ');
      token.resourceServer = new provider.ResourceServer(target, {
        scope: token.scope,
        audience: target,
        accessTokenFormat: 'jwt',
        accessTokenTTL: seconds,
        jwt: { sign: { alg: 'ES256' } },
      });
      token.extra = { act: { sub: client.clientId }, groups: subject.groups };
      ctx.body = {
        access_token: await token.save(),
        issued_token_type: ACCESS_TOKEN,
        token_type: 'Bearer',
        expires_in: token.expiration,
        scope: token.scope || undefined,
      };
    },
    PARAMETERS,
    ['resource', 'audience'],
  );
}
