// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0
//
// A client made of openid-client. Its configuration is the environment variable RP. It says on standard output what a person has to do,
// one JSON object a line, and reads from standard input the address at which the browser came back.
import dns from "node:dns";
import readline from "node:readline";
import * as client from "openid-client";

// Browsers know where *.localhost is (RFC 6761 section 6.3); Node asks the system, which may not.
const lookup = dns.lookup;
dns.lookup = (host, options, done) => lookup(host.endsWith(".localhost") ? "127.0.0.1" : host, options, done);

const rp = JSON.parse(process.env.RP);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what) => console.log(JSON.stringify(what));
const answer = async (what) => (say(what), (await lines.next()).value);
const issuer = new URL(rp.issuer);
const algorithm = { name: "ECDSA", namedCurve: "P-256" };
const privateKey = async () => ({ key: await crypto.subtle.importKey("jwk", rp.key, algorithm, false, ["sign"]), kid: rp.kid });

function check(ok, what) {
  if (!ok) throw new Error(what);
}

// login goes through the browser with whatever builds the address, and returns the tokens.
async function login(config, build, parameters = {}, options = undefined, fragment = false) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const nonce = client.randomNonce();
  const url = await build(config, {
    redirect_uri: rp.redirect, scope: "openid profile email", state, nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256", ...parameters,
  });
  const back = new URL(await answer({ open: url.href }));
  check(fragment === (back.hash !== ""), `the response is not where it belongs: ${back}`);
  return client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true }, undefined, options);
}

async function userinfo(config, tokens, options) {
  const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, options);
  check(info.email === rp.email, `userinfo has e-mail ${info.email}`);
}

const scenarios = {
  // A confidential client by the book: code and PKCE, userinfo, refresh, introspection, revocation, logout.
  async code() {
    const config = await client.discovery(issuer, rp.id, undefined, client.ClientSecretBasic(rp.secret));
    const tokens = await login(config, client.buildAuthorizationUrl, { scope: "openid profile email offline_access", prompt: "consent" });
    await userinfo(config, tokens);
    const next = await client.refreshTokenGrant(config, tokens.refresh_token);
    check(next.access_token !== tokens.access_token, "the same access token");
    const seen = await client.tokenIntrospection(config, next.access_token);
    check(seen.active === true && seen.client_id === rp.id, `introspection: ${JSON.stringify(seen)}`);
    await client.tokenRevocation(config, next.refresh_token);
    check((await client.tokenIntrospection(config, next.refresh_token)).active === false, "a revoked refresh token is active");
    await answer({ open: client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: rp.bye, state: "bye" }).href });
    return tokens.claims();
  },
  // FAPI 2.0: private_key_jwt, PAR, DPoP, with a nonce of the server's where it wants one.
  async fapi() {
    const config = await client.discovery(issuer, rp.id, undefined, client.PrivateKeyJwt(await privateKey()));
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
    const tokens = await login(config, (c, p) => client.buildAuthorizationUrlWithPAR(c, p, { DPoP }), {}, { DPoP });
    check(tokens.token_type.toLowerCase() === "dpop", `token_type ${tokens.token_type}`);
    await userinfo(config, tokens, { DPoP });
    const answer = await client.fetchProtectedResource(config, tokens.access_token, new URL(config.serverMetadata().userinfo_endpoint), "GET", null, new Headers(), { DPoP });
    check(answer.status === 200, `resource: ${answer.status}`);
    return tokens.claims();
  },
  // Message Signing: a request object, pushed, and a signed response.
  async signed() {
    const config = await client.discovery(issuer, rp.id, { authorization_signed_response_alg: "ES256" }, client.PrivateKeyJwt(await privateKey()));
    client.useJwtResponseMode(config);
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
    const tokens = await login(config, async (c, p) => {
      const signed = await client.buildAuthorizationUrlWithJAR(c, p, await privateKey(), { [client.modifyAssertion]: (header, claims) => { claims.nbf = claims.iat; } });
      return client.buildAuthorizationUrlWithPAR(c, signed.searchParams, { DPoP });
    }, {}, { DPoP });
    await userinfo(config, tokens, { DPoP });
    return tokens.claims();
  },
  // The hybrid flow: an ID token in the fragment, checked with its c_hash.
  async hybrid() {
    const config = await client.discovery(issuer, rp.id, undefined, client.ClientSecretBasic(rp.secret));
    client.useCodeIdTokenResponseType(config);
    client.enableDetachedSignatureResponseChecks(config);
    client.useCodeIdTokenResponseType(config);
    const tokens = await login(config, client.buildAuthorizationUrl, {}, undefined, true);
    await userinfo(config, tokens);
    return tokens.claims();
  },
  // A client that registers itself.
  async registered() {
    const config = await client.dynamicClientRegistration(issuer, { client_name: "openid-client", redirect_uris: [rp.redirect], token_endpoint_auth_method: "client_secret_post" });
    const tokens = await login(config, client.buildAuthorizationUrl);
    await userinfo(config, tokens);
    return tokens.claims();
  },
  // A device without a browser.
  async device() {
    const config = await client.discovery(issuer, rp.id, undefined, client.None());
    const begun = await client.initiateDeviceAuthorization(config, { scope: "openid email" });
    await answer({ device: begun.verification_uri_complete });
    const tokens = await client.pollDeviceAuthorizationGrant(config, begun);
    await userinfo(config, tokens);
    return tokens.claims();
  },
  // A person who is asked on a device of their own.
  async ciba() {
    const config = await client.discovery(issuer, rp.id, undefined, client.ClientSecretBasic(rp.secret));
    const begun = await client.initiateBackchannelAuthentication(config, { scope: "openid email", login_hint: rp.email, binding_message: "1234" });
    await answer({ backchannel: rp.issuer + "/oauth2/backchannel" });
    const tokens = await client.pollBackchannelAuthenticationGrant(config, begun);
    await userinfo(config, tokens);
    return tokens.claims();
  },
};

try {
  say({ claims: await scenarios[rp.scenario]() });
} catch (e) {
  say({ error: `${e.stack} ${e.cause ? JSON.stringify(e.cause, Object.getOwnPropertyNames(e.cause)) : ""}` });
}
process.exit(0);
