// Preload for the conformance suite, which has no option for a header: adds the bearer token $BEARER to each
// request to the origin $ORIGIN, whichever of Node's two HTTP clients makes it.
// Node tells of each request before it is sent; nothing of the suite is changed.
import { subscribe } from 'node:diagnostics_channel';

const { BEARER, ORIGIN } = process.env;
const credentials = `Bearer ${BEARER}`;
const { host } = new URL(ORIGIN);

// fetch, and the package undici
subscribe('undici:request:create', ({ request }) => {
  if (String(request.origin) === ORIGIN) request.addHeader('authorization', credentials);
});

// node:http
subscribe('http.client.request.created', ({ request }) => {
  if (request.getHeader('host') === host) request.setHeader('authorization', credentials);
});
