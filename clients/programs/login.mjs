// What a Node client needs to log in: its storage, in memory, and a user with a browser who approves. The
// environment says where to ($URL) and how: $FLOW `user` (one logs in, the client registers itself) or `secret`
// (one of its own). `run(connect)` gets a token, reads, writes, and prints what it saw as JSON.
const { URL: url, FLOW } = process.env;
const REDIRECT = 'http://127.0.0.1:1/callback'; // nobody listens: the browser stops there

/** OAuthClientProvider of a client that registers itself and has its user log in. */
class Login {
  redirectUrl = REDIRECT;
  clientMetadata = {
    client_name: 'step-up',
    redirect_uris: [REDIRECT],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
  };
  state = () => 'a-state-of-this-login';
  clientInformation = () => this.client;
  saveClientInformation = (client) => void (this.client = client);
  tokens = () => this.token;
  saveTokens = (token) => void (this.token = token);
  codeVerifier = () => this.verifier;
  saveCodeVerifier = (verifier) => void (this.verifier = verifier);
  discoveryState = () => this.discovery;
  saveDiscoveryState = (discovery) => void (this.discovery = discovery);
  redirectToAuthorization = (to) => void (this.waiting = to);

  /** What the provider sends back to the client. */
  async browse() {
    const cookies = new Map();
    for (let to = this.waiting; ; ) {
      const cookie = [...cookies].map((pair) => pair.join('=')).join('; ');
      const answer = await fetch(to, { redirect: 'manual', headers: { cookie } });
      for (const set of answer.headers.getSetCookie()) {
        const [name, value] = set.split(';')[0].split('=');
        cookies.set(name, value);
      }
      const location = answer.headers.get('location');
      if (!location) throw new Error(`${to}: ${answer.status} ${await answer.text()}`);
      to = new URL(location, to);
      if (to.href.startsWith(REDIRECT)) return to.searchParams;
    }
  }
}

/**
 * `Machine`: the client's class for a secret; `connect(url, auth)` gives {client, transport}; `finish(transport,
 * answer)` hands it what the provider sent back.
 */
export async function run(Machine, connect, finish) {
  const auth = FLOW === 'user' ? new Login() : new Machine({ clientId: 'robot', clientSecret: 'robot-secret' });
  const seen = { logins: 0 };
  try {
    const { client, transport } = await logged(auth, seen, finish, () => connect(new URL(url), auth));
    const call = async (name) => {
      const result = await client.callTool({ name, arguments: { name } });
      return result.content[0].text;
    };
    seen.read = await call('greet');
    seen.first = auth.tokens().access_token;
    seen.write = await logged(auth, seen, finish, () => call('erase'), transport);
    seen.second = auth.tokens().access_token;
    seen.again = await call('greet');
    await client.close();
  } catch (error) {
    seen.error = `${error.constructor.name}: ${error.message}`;
  }
  console.log(JSON.stringify(seen));
  process.exit();
}

/** Does it; where the client asks its user to log in, lets the user, tells the client, and does it again. */
async function logged(auth, seen, finish, act, transport) {
  try {
    return await act();
  } catch (error) {
    if (error.constructor.name !== 'UnauthorizedError' || !auth.waiting) throw error;
    seen.logins += 1;
    const answer = await auth.browse();
    auth.waiting = undefined;
    await finish(transport ?? error.transport, answer);
    return act();
  }
}
