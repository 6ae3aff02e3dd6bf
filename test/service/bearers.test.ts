import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, type JSONWebKeySet, type JWK, type JWTPayload, SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type BearerSetting, resolveBearer } from '../../src/config/bearer.ts';
import { refuse } from '../../src/domain/problem.ts';
import { type BearerParts, type BearerVerifier, createBearerVerifier } from '../../src/service/bearers.ts';

const T0 = Date.UTC(2026, 10, 20, 12);
const SECONDS = T0 / 1000;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** 32 bytes, the least that there may be */
const SECRET = 'f3b1c9e27a5d4408b6e0913cd2745af8';
const AUDIENCE = 'https://api.example.com';

let now = T0;
const logged: { fields: object; message: string }[] = [];

beforeEach(() => {
  now = T0;
  logged.length = 0;
});

const partsOf = (more: Partial<BearerParts> = {}): BearerParts => ({
  app: 'taxi',
  now: () => now,
  log: { warn: (fields, message) => void logged.push({ fields, message }) },
  users: { ofToken: () => Promise.reject(new Error('nobody asked for users')) },
  ...more,
});

const verifierOf = (setting: BearerSetting, more?: Partial<BearerParts>) =>
  createBearerVerifier(resolveBearer(setting), partsOf(more));

/** What SimpleJWT puts into an access token. */
const simpleJwt: JWTPayload = { token_type: 'access', exp: SECONDS + 300, iat: SECONDS, jti: '0f4e', user_id: 42 };

const signedIn = (subject: string, more: object = {}) => ({
  kind: 'signed-in',
  subject,
  locale: undefined,
  email: undefined,
  ...more,
});
const refused = (why: 'missing' | 'invalid' | 'expired') => ({ kind: 'refused', why });

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token made by hand: no library would sign some of these. */
function byHand(header: object, payload: object, key: string | Buffer, hash = 'sha256'): string {
  const signed = `${encode(header)}.${encode(payload)}`;
  return `${signed}.${createHmac(hash, key).update(signed).digest('base64url')}`;
}

const bySecret = (payload: object, secret = SECRET) => byHand({ alg: 'HS256', typ: 'JWT' }, payload, secret);

describe('a bearer token signed with a secret', () => {
  it("names its user by SimpleJWT's user_id, whose integers become text", async () => {
    const { verify } = verifierOf({ secret: SECRET });
    expect(await verify(bySecret(simpleJwt))).toEqual(signedIn('42'));
    expect(await verify(bySecret({ ...simpleJwt, user_id: 'b7c4' }))).toEqual(signedIn('b7c4'));
    expect(await verify(bySecret({ ...simpleJwt, user_id: 0 }))).toEqual(signedIn('0'));
  });

  it('names its user by sub before user_id, and by the configured claim alone', async () => {
    const token = bySecret({ ...simpleJwt, sub: 'somebody', rider: 'r1' });
    expect(await verifierOf({ secret: SECRET }).verify(token)).toEqual(signedIn('somebody'));
    expect(await verifierOf({ secret: SECRET, subjectClaim: 'rider' }).verify(token)).toEqual(signedIn('r1'));
    expect(await verifierOf({ secret: SECRET, subjectClaim: 'driver' }).verify(token)).toEqual(refused('invalid'));
    expect(await verifierOf({ secret: SECRET, subjectClaim: 'toString' }).verify(token)).toEqual(refused('invalid'));
  });

  it.each([
    ['none', undefined],
    ['an empty one', ''],
    ['one of 256 characters', 'x'.repeat(256)],
    ['a line break', 'a\nb'],
    ['NUL', 'a\0'],
    ['a C1 control', 'a\u0085'],
    ['half a surrogate pair', '\ud83d'],
    ['a fraction', 4.5],
    ['an integer that another one is read as', 2 ** 53],
    ['a boolean', true],
    ['a list', ['42']],
    ['an object', { id: 42 }],
  ])('is invalid with a subject that is %s', async (_, sub) => {
    const { user_id: _ignored, ...claims } = simpleJwt;
    expect(await verifierOf({ secret: SECRET }).verify(bySecret({ ...claims, sub }))).toEqual(refused('invalid'));
  });

  it('takes a subject of 255 characters, of any script', async () => {
    const sub = '🚕'.repeat(255);
    expect(await verifierOf({ secret: SECRET }).verify(bySecret({ ...simpleJwt, sub }))).toEqual(signedIn(sub));
  });

  it('is missing when there is none', async () => {
    const { verify } = verifierOf({ secret: SECRET });
    expect(await verify(undefined)).toEqual(refused('missing'));
    expect(await verify('')).toEqual(refused('missing'));
  });

  it('is refused at the very millisecond of exp, without tolerance', async () => {
    const { verify } = verifierOf({ secret: SECRET });
    const token = bySecret({ ...simpleJwt, exp: SECONDS + 300 });
    now = T0 + 299_999;
    expect(await verify(token)).toEqual(signedIn('42'));
    now = T0 + 300_000;
    expect(await verify(token)).toEqual(refused('expired'));
    now = T0 + HOUR;
    expect(await verify(token)).toEqual(refused('expired'));
    now = T0 + 500;
    expect(await verify(bySecret({ ...simpleJwt, exp: SECONDS + 0.5 }))).toEqual(refused('expired'));
  });

  it('needs no exp, and none that is no number', async () => {
    const { verify } = verifierOf({ secret: SECRET });
    expect(await verify(bySecret({ user_id: 42 }))).toEqual(signedIn('42'));
    expect(await verify(bySecret({ ...simpleJwt, exp: String(SECONDS + 300) }))).toEqual(refused('invalid'));
  });

  it.each(['nbf', 'iat'])('is invalid with %s more than 30 s ahead', async (claim) => {
    const { verify } = verifierOf({ secret: SECRET });
    expect(await verify(bySecret({ ...simpleJwt, [claim]: SECONDS + 30 }))).toEqual(signedIn('42'));
    expect(await verify(bySecret({ ...simpleJwt, [claim]: SECONDS + 31 }))).toEqual(refused('invalid'));
  });

  it('is told as expired only when somebody with the secret made it', async () => {
    const { verify } = verifierOf({ secret: SECRET });
    expect(await verify(bySecret({ ...simpleJwt, exp: SECONDS - 1 }, `${SECRET}!`))).toEqual(refused('invalid'));
  });

  it('is never a refresh token, whatever is configured', async () => {
    const refresh = bySecret({ ...simpleJwt, token_type: 'refresh', sub: 'x' });
    expect(await verifierOf({ secret: SECRET }).verify(refresh)).toEqual(refused('invalid'));
    expect(await verifierOf({ secret: SECRET, claims: {} }).verify(refresh)).toEqual(refused('invalid'));
    expect(await verifierOf({ secret: SECRET, claims: { token_type: 'refresh' } }).verify(refresh)).toEqual(
      refused('invalid'),
    );
  });

  it('has the claims that are asked for, with exactly these values', async () => {
    const { verify } = verifierOf({ secret: SECRET, claims: { token_type: 'access', level: 2, staff: false } });
    const good = { ...simpleJwt, level: 2, staff: false };
    expect(await verify(bySecret(good))).toEqual(signedIn('42'));
    for (const wrong of [{ level: '2' }, { level: 3 }, { staff: 0 }, { token_type: 'sliding' }, { staff: undefined }]) {
      expect(await verify(bySecret({ ...good, ...wrong })), JSON.stringify(wrong)).toEqual(refused('invalid'));
    }
  });

  it('has the issuer and the audience, where they are configured', async () => {
    const { verify } = verifierOf({ secret: SECRET, issuer: 'django', audience: 'riders' });
    const good = { ...simpleJwt, iss: 'django', aud: ['web', 'riders'] };
    expect(await verify(bySecret(good))).toEqual(signedIn('42'));
    for (const wrong of [{ iss: 'other' }, { iss: undefined }, { aud: 'web' }, { aud: undefined }]) {
      expect(await verify(bySecret({ ...good, ...wrong })), JSON.stringify(wrong)).toEqual(refused('invalid'));
    }
  });

  it.each([
    [{ locale: 'uz-Latn-UZ' }, 'uz-Latn-UZ'],
    [{ language: 'ky' }, 'ky'],
    [{ locale: 'ru', language: 'ky' }, 'ru'],
    [{ locale: 'not a language', language: 'ky' }, 'ky'],
    [{ locale: 7 }, undefined],
    [{ locale: `en${'-abcdefgh'.repeat(9)}` }, undefined],
    [{ locale: '' }, undefined],
  ])('says the language of %j when it is one', async (claims, locale) => {
    const { verify } = verifierOf({ secret: SECRET });
    expect(await verify(bySecret({ ...simpleJwt, ...claims }))).toEqual(signedIn('42', { locale }));
  });

  it.each([
    [{ email: 'a@example.com' }, 'a@example.com'],
    [{ email: 'a@example.com', email_verified: true }, 'a@example.com'],
    [{ email: 'a@example.com', email_verified: false }, undefined],
    [{ email: 'a@example.com', email_verified: 'false' }, undefined],
    [{ email: 'a@example.com, b@example.com' }, undefined],
    [{ email: 'a@example.com\r\nBcc: b@example.com' }, undefined],
    [{ email: 'nobody' }, undefined],
    [{ email: ['a@example.com'] }, undefined],
  ])('says the address of %j when it is one, and not unverified', async (claims, email) => {
    const { verify } = verifierOf({ secret: SECRET });
    expect(await verify(bySecret({ ...simpleJwt, ...claims }))).toEqual(signedIn('42', { email }));
  });

  it('has 8 KiB at most: a larger one is not even parsed', async () => {
    const { verify } = verifierOf({ secret: SECRET });
    const tokens = Array.from({ length: 200 }, (_, more) =>
      bySecret({ ...simpleJwt, padding: 'x'.repeat(5900 + more) }),
    );
    const fits = tokens.findLast(({ length }) => length <= 8192) ?? '';
    const large = tokens.find(({ length }) => length > 8192) ?? '';
    expect([fits.length, large.length]).toEqual([expect.closeTo(8192, -1), expect.closeTo(8193, -1)]);
    expect(await verify(fits)).toEqual(signedIn('42'));
    const parse = vi.spyOn(JSON, 'parse');
    expect(await verify(large)).toEqual(refused('invalid'));
    expect(parse).not.toHaveBeenCalled();
    parse.mockRestore();
  });

  it.each([
    ['of another secret', () => bySecret(simpleJwt, `${SECRET.slice(0, -1)}0`)],
    ['of an empty secret', () => bySecret(simpleJwt, '')],
    ['without a signature (alg none)', () => `${encode({ alg: 'none' })}.${encode(simpleJwt)}.`],
    ['that says None', () => `${encode({ alg: 'None' })}.${encode(simpleJwt)}.`],
    ['that says none and is signed', () => byHand({ alg: 'none' }, simpleJwt, SECRET)],
    ['without alg', () => byHand({ typ: 'JWT' }, simpleJwt, SECRET)],
    ['whose signature is left out', () => `${bySecret(simpleJwt).split('.').slice(0, 2).join('.')}.`],
    ['of the right secret by HS512', () => byHand({ alg: 'HS512' }, simpleJwt, SECRET, 'sha512')],
    ['of the right secret by HS384', () => byHand({ alg: 'HS384' }, simpleJwt, SECRET, 'sha384')],
    ['signed with the key in its own header', () => byHand({ alg: 'HS256', jwk: octOf('mine') }, simpleJwt, 'mine')],
    ['whose kid is a file of zero bytes', () => byHand({ alg: 'HS256', kid: '/dev/null' }, simpleJwt, '')],
    ['with a critical header that nobody knows', () => byHand({ alg: 'HS256', crit: ['x'], x: 1 }, simpleJwt, SECRET)],
    ['whose payload was changed', () => withPayload(bySecret(simpleJwt), { ...simpleJwt, user_id: 1 })],
    ['whose payload is a list', () => bySecret([simpleJwt])],
    ['of two parts', () => bySecret(simpleJwt).split('.').slice(1).join('.')],
    ['of four parts', () => `${bySecret(simpleJwt)}.x`],
    ['with a space behind it', () => `${bySecret(simpleJwt)} `],
    ['with a line break in its signature', () => bySecret(simpleJwt).replace(/.{9}$/, '\n$&')],
    ['in the alphabet of plain base64', () => `${bySecret(simpleJwt)}=`],
    ['that is none', () => 'cs_0000000000000000'],
    ['of dots', () => '..'],
  ])('is invalid when it is one %s', async (_, token) => {
    expect(await verifierOf({ secret: SECRET }).verify(bySecret(simpleJwt))).toEqual(signedIn('42'));
    expect(await verifierOf({ secret: SECRET }).verify(token())).toEqual(refused('invalid'));
  });

  it('is invalid when public keys were meant to be used: RS256, ES256, EdDSA', async () => {
    for (const [alg, key] of [
      ['RS256', rsa],
      ['ES256', ec],
      ['EdDSA', ed],
    ] as const) {
      const token = await sign(key.privateKey, { alg }, simpleJwt);
      expect(await verifierOf({ secret: SECRET }).verify(token), alg).toEqual(refused('invalid'));
    }
  });
});

function octOf(secret: string): JWK {
  return { kty: 'oct', k: Buffer.from(secret).toString('base64url') };
}

function withPayload(token: string, payload: object): string {
  const [header, , signature] = token.split('.');
  return [header, encode(payload), signature].join('.');
}

type Pair = { readonly privateKey: KeyObject; readonly publicKey: KeyObject };
const rsa: Pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec: Pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed: Pair = generateKeyPairSync('ed25519');
const attacker: Pair = generateKeyPairSync('rsa', { modulusLength: 2048 });

const jwkOf = async ({ publicKey }: Pair, kid: string) => ({ ...(await exportJWK(publicKey)), kid, use: 'sig' });

function sign(key: KeyObject, header: { alg: string; [more: string]: unknown }, payload: JWTPayload): Promise<string> {
  return new SignJWT(payload).setProtectedHeader(header).sign(key);
}

/** An issuer on this machine, with what it answers. */
class Issuer {
  readonly origin: string;
  readonly asked: string[] = [];
  answer: (reply: ServerResponse, url: string) => unknown = (reply) => reply.writeHead(404).end();
  readonly #server;

  static async open(): Promise<Issuer> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Issuer(server);
  }

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', ({ url = '' }, reply) => {
      this.asked.push(url);
      this.answer(reply, url);
    });
  }

  publish(...keys: JWK[]): void {
    this.answer = (reply) => reply.end(JSON.stringify({ keys } satisfies JSONWebKeySet));
  }

  fail(status = 500): void {
    this.answer = (reply) => reply.writeHead(status).end('{"keys":[]}');
  }

  /** The next request, once it is here. */
  async nextRequest(): Promise<ServerResponse> {
    const { promise, resolve } = Promise.withResolvers<ServerResponse>();
    this.answer = (reply) => resolve(reply);
    return await promise;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

describe("a bearer token signed with an issuer's keys", () => {
  let issuer: Issuer;
  let claims: JWTPayload;
  let verifier: BearerVerifier;
  const verify = (token: string) => verifier.verify(token);
  const fresh = (more?: Partial<BearerParts>) => verifierOf({ issuer: issuer.origin, audience: AUDIENCE }, more);

  beforeEach(async () => {
    issuer = await Issuer.open();
    claims = { iss: issuer.origin, aud: AUDIENCE, sub: 'auth0|42', exp: SECONDS + 48 * 3600 };
    issuer.publish(await jwkOf(rsa, 'r1'), await jwkOf(ec, 'e1'), await jwkOf(ed, 'd1'));
    verifier = fresh();
  });

  afterEach(async () => {
    vi.restoreAllMocks();
    await issuer.close();
  });

  const byRsa = (more: object = {}) => sign(rsa.privateKey, { alg: 'RS256', kid: 'r1' }, { ...claims, ...more });
  const unavailable = { name: 'CountersignError', code: 'issuer-unavailable' };

  it.each([
    ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg) => [alg, 'r1', rsa] as const),
    ['ES256', 'e1', ec] as const,
    ['EdDSA', 'd1', ed] as const,
  ])('is taken by %s', async (alg, kid, { privateKey }) => {
    expect(await verify(await sign(privateKey, { alg, kid }, claims))).toEqual(signedIn('auth0|42'));
    expect(issuer.asked).toEqual(['/.well-known/jwks.json']);
  });

  it('is checked with the keys at jwksUrl, when the issuer has them elsewhere', async () => {
    const { verify: verifyElsewhere } = verifierOf({
      issuer: 'https://login.example.com/',
      audience: AUDIENCE,
      jwksUrl: `${issuer.origin}/protocol/certs`,
    });
    const token = await byRsa({ iss: 'https://login.example.com/' });
    expect(await verifyElsewhere(token)).toEqual(signedIn('auth0|42'));
    expect(issuer.asked).toEqual(['/protocol/certs']);
  });

  it.each([
    ['of another issuer', { iss: 'https://evil.example' }, 'invalid'],
    ['without issuer', { iss: undefined }, 'invalid'],
    ['for another audience', { aud: 'https://other.example.com' }, 'invalid'],
    ['without audience', { aud: undefined }, 'invalid'],
    ['without exp', { exp: undefined }, 'invalid'],
    ['that has expired', { exp: SECONDS }, 'expired'],
    ['for refreshing', { token_type: 'refresh' }, 'invalid'],
    ['that is not good yet', { nbf: SECONDS + 31 }, 'invalid'],
    ['without a subject', { sub: undefined }, 'invalid'],
  ] as const)('is refused when it is one %s', async (_, more, why) => {
    expect(await verify(await byRsa(more))).toEqual(refused(why));
  });

  it('is refused when its signature is by HS256 over the public key, in any spelling of it', async () => {
    const jwk = await jwkOf(rsa, 'r1');
    const pem = rsa.publicKey.export({ format: 'pem', type: 'spki' }) as string;
    const spellings = [
      pem,
      pem.trim(),
      rsa.publicKey.export({ format: 'pem', type: 'pkcs1' }),
      rsa.publicKey.export({ format: 'der', type: 'spki' }),
      JSON.stringify(jwk),
      String(jwk.n),
      Buffer.from(String(jwk.n), 'base64url'),
    ];
    for (const spelling of spellings) {
      for (const header of [{ alg: 'HS256', kid: 'r1' }, { alg: 'HS256' }])
        expect(await verify(byHand(header, claims, spelling))).toEqual(refused('invalid'));
    }
    expect(issuer.asked).toEqual([]);
  });

  it('is refused when it is signed with a symmetric key out of the key set', async () => {
    const shared = octOf(SECRET);
    issuer.publish({ ...shared, kid: 'o1' }, await jwkOf(rsa, 'r1'));
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
    for (const [alg, hash] of [
      ['HS256', 'sha256'],
      ['HS512', 'sha512'],
    ] as const)
      expect(await verify(byHand({ alg, kid: 'o1' }, claims, SECRET, hash))).toEqual(refused('invalid'));
  });

  it('is refused when it brings its key along, or says where it is; nobody is asked there', async () => {
    const evil = await Issuer.open();
    const jwk = await jwkOf(attacker, 'r1');
    evil.publish(jwk);
    const ways = [{ jwk }, { jku: `${evil.origin}/keys` }, { x5u: `${evil.origin}/cert` }, { x5c: ['MIIB'] }];
    for (const way of ways) {
      for (const kid of ['r1', 'mine', undefined]) {
        const header = { alg: 'RS256', ...(kid === undefined ? {} : { kid }), ...way };
        expect(await verify(await sign(attacker.privateKey, header, claims))).toEqual(refused('invalid'));
      }
    }
    expect(evil.asked).toEqual([]);
    await evil.close();
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
  });

  it.each([
    ['says none', () => `${encode({ alg: 'none' })}.${encode(claims)}.`],
    ['says none and names a key', () => `${encode({ alg: 'none', kid: 'r1' })}.${encode(claims)}.`],
    [
      'says ES256 and has r = s = 0',
      () => `${encode({ alg: 'ES256', kid: 'e1' })}.${encode(claims)}.${'A'.repeat(86)}`,
    ],
    ['is signed by somebody else', () => sign(attacker.privateKey, { alg: 'RS256', kid: 'r1' }, claims)],
    ['names a key of another kind', () => sign(rsa.privateKey, { alg: 'RS256', kid: 'e1' }, claims)],
    ['was changed', async () => withPayload(await byRsa(), { ...claims, sub: 'admin' })],
  ])('is refused when it %s', async (_, token) => {
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
    expect(await verify(await token())).toEqual(refused('invalid'));
  });

  it('is refused when several keys could be meant, and it names none', async () => {
    const token = await sign(rsa.privateKey, { alg: 'RS256' }, claims);
    expect(await verify(token)).toEqual(signedIn('auth0|42'));
    issuer.publish(await jwkOf(rsa, 'r1'), await jwkOf(attacker, 'r2'));
    expect(await fresh().verify(token)).toEqual(refused('invalid'));
  });

  it('is checked with keys that are asked for once in ten minutes', async () => {
    await verify(await byRsa());
    now = T0 + 10 * MINUTE - 1;
    await verify(await byRsa());
    expect(issuer.asked).toHaveLength(1);
    now = T0 + 10 * MINUTE;
    issuer.publish(await jwkOf(ec, 'e1'));
    expect(await verify(await byRsa())).toEqual(refused('invalid'));
    expect(issuer.asked).toHaveLength(2);
  });

  it('is taken right after a rotation; unknown keys are asked for once in 30 s, however many name one', async () => {
    await verify(await byRsa());
    issuer.publish(await jwkOf(rsa, 'r1'), await jwkOf(attacker, 'r2'));
    const rotated = await sign(attacker.privateKey, { alg: 'RS256', kid: 'r2' }, claims);
    now = T0 + 29_999;
    expect(await verify(rotated)).toEqual(refused('invalid'));
    expect(issuer.asked).toHaveLength(1);
    now = T0 + 30_000;
    expect(await verify(rotated)).toEqual(signedIn('auth0|42'));
    expect(issuer.asked).toHaveLength(2);
    const invented = (number: number) => sign(attacker.privateKey, { alg: 'RS256', kid: `x${number}` }, claims);
    now = T0 + 60_000;
    const tokens = await Promise.all(Array.from({ length: 20 }, (_, number) => invented(number)));
    const outcomes = await Promise.all(tokens.map(verify));
    expect(outcomes).toEqual(tokens.map(() => refused('invalid')));
    expect(issuer.asked).toHaveLength(3);
  });

  it('asks once for many callers at the same time', async () => {
    const token = await byRsa();
    const requested = issuer.nextRequest();
    const outcomes = Promise.all(Array.from({ length: 20 }, () => verify(token)));
    const reply = await requested;
    now = T0 + MINUTE;
    const late = verify(token);
    reply.end(JSON.stringify({ keys: [await jwkOf(rsa, 'r1')] }));
    expect(await outcomes).toEqual(Array(20).fill(signedIn('auth0|42')));
    expect(await late).toEqual(signedIn('auth0|42'));
    expect(issuer.asked).toHaveLength(1);
  });

  it('goes on being checked for a day when the issuer is away, at no cost but one question in 30 s', async () => {
    await verify(await byRsa());
    issuer.fail();
    now = T0 + 10 * MINUTE;
    for (let caller = 0; caller < 5; caller += 1) expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
    expect(issuer.asked).toHaveLength(2);
    now += 30_000;
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
    expect(issuer.asked).toHaveLength(3);
    expect(logged[0]).toEqual({
      fields: { issuer: issuer.origin, error: 'HTTP 500' },
      message: 'keys of the issuer of bearer tokens cannot be had',
    });
    now = T0 + 24 * HOUR - 1;
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
    now = T0 + 24 * HOUR;
    await expect(verify(await byRsa())).rejects.toMatchObject(unavailable);
    issuer.publish(await jwkOf(rsa, 'r1'));
    now += 5000;
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
  });

  it('is neither taken nor refused when it names a new key and the issuer is away', async () => {
    await verify(await byRsa());
    issuer.fail();
    now = T0 + 30_000;
    const rotated = await sign(attacker.privateKey, { alg: 'RS256', kid: 'r2' }, claims);
    await expect(verify(rotated)).rejects.toMatchObject(unavailable);
    await expect(verify(rotated)).rejects.toMatchObject(unavailable);
    expect(issuer.asked).toHaveLength(2);
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
  });

  it('is neither taken nor refused as long as no keys were had; five seconds later they are asked for again', async () => {
    issuer.fail(503);
    const token = await byRsa();
    await expect(verify(token)).rejects.toMatchObject(unavailable);
    issuer.publish(await jwkOf(rsa, 'r1'));
    now = T0 + 4999;
    await expect(verify(token)).rejects.toMatchObject(unavailable);
    expect(issuer.asked).toHaveLength(1);
    now = T0 + 5000;
    expect(await verify(token)).toEqual(signedIn('auth0|42'));
    const invented = await sign(attacker.privateKey, { alg: 'RS256', kid: 'x' }, claims);
    expect(await verify(invented)).toEqual(refused('invalid'));
  });

  it('is neither taken nor refused when nobody listens', async () => {
    const token = await byRsa();
    await issuer.close();
    await expect(verify(token)).rejects.toMatchObject(unavailable);
    expect(logged).toMatchObject([{ fields: { error: 'ECONNREFUSED' } }]);
    issuer = await Issuer.open();
  });

  it.each([
    ['another status', (reply: ServerResponse) => reply.writeHead(404).end('{"keys":[]}')],
    ['a page', (reply: ServerResponse) => reply.end('<html>')],
    ['null', (reply: ServerResponse) => reply.end('null')],
    ['no list', (reply: ServerResponse) => reply.end('{"keys":{"0":{}}}')],
    ['no keys', (reply: ServerResponse) => reply.end('{"keys":[]}')],
    ['nulls', (reply: ServerResponse) => reply.end('{"keys":[null,1,"RSA"]}')],
    ['a symmetric key alone', (reply: ServerResponse) => reply.end(JSON.stringify({ keys: [octOf(SECRET)] }))],
    ['half of the answer', (reply: ServerResponse) => reply.writeHead(200, { 'content-length': 99 }).write('{"keys":')],
  ])('is neither taken nor refused when the issuer answers with %s', async (_, answer) => {
    issuer.answer = (reply) => {
      answer(reply);
      if (!reply.writableEnded) reply.destroy();
    };
    await expect(verify(await byRsa())).rejects.toMatchObject(unavailable);
    await expect(verify(byHand({ alg: 'HS256' }, claims, SECRET))).resolves.toEqual(refused('invalid'));
  });

  it('is checked with what is a key among other things', async () => {
    const keys = [null, 'RSA', { kty: 7 }, await jwkOf(rsa, 'r1'), []];
    issuer.answer = (reply) => reply.end(JSON.stringify({ keys }));
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
  });

  it('keeps the keys it had when the issuer begins to lie', async () => {
    await verify(await byRsa());
    issuer.answer = (reply) => reply.end('{"keys":[]}');
    now = T0 + 10 * MINUTE;
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
    expect(issuer.asked).toHaveLength(2);
  });

  it('is not kept waiting by an answer that is larger than 1 MiB, or has no end', async () => {
    const keys = [await jwkOf(rsa, 'r1')];
    const padded = (bytes: number) => {
      const text = JSON.stringify({ keys, padding: '' });
      return text.replace('"padding":""', `"padding":"${'x'.repeat(bytes - text.length)}"`);
    };
    issuer.answer = (reply) => reply.end(padded(1024 * 1024));
    expect(await verify(await byRsa())).toEqual(signedIn('auth0|42'));
    issuer.answer = (reply) => reply.end(padded(1024 * 1024 + 1));
    await expect(fresh().verify(await byRsa())).rejects.toMatchObject(unavailable);
    const ended = Promise.withResolvers<void>();
    issuer.answer = (reply) => {
      const more = () => {
        while (!reply.destroyed && reply.write(' '.repeat(65_536)));
      };
      reply.on('drain', more).once('close', ended.resolve);
      more();
    };
    await expect(fresh().verify(await byRsa())).rejects.toMatchObject(unavailable);
    await ended.promise;
    expect(logged.map(({ fields }) => fields)).toEqual(
      Array(2).fill({ issuer: issuer.origin, error: 'the answer is too large' }),
    );
  });

  it('is not checked with keys from where the issuer redirects to', async () => {
    const evil = await Issuer.open();
    evil.publish(await jwkOf(attacker, 'r1'));
    for (const location of [`${evil.origin}/keys`, '/elsewhere']) {
      for (const status of [301, 302, 307, 308]) {
        issuer.answer = (reply, url) =>
          url === '/elsewhere' ? reply.end('{}') : reply.writeHead(status, { location }).end();
        const token = await sign(attacker.privateKey, { alg: 'RS256', kid: 'r1' }, claims);
        await expect(fresh().verify(token)).rejects.toMatchObject(unavailable);
      }
    }
    expect(evil.asked).toEqual([]);
    expect(issuer.asked).not.toContain('/elsewhere');
    await evil.close();
  });

  it.each([
    ['no answer', () => {}],
    ['the first half of one', (reply: ServerResponse) => reply.write('{"keys":')],
  ])('waits three seconds at most for %s', async (_, begin) => {
    const deadline = new AbortController();
    const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(deadline.signal);
    const requested = issuer.nextRequest();
    const outcome = verify(await byRsa());
    outcome.catch(() => {});
    begin(await requested);
    expect(timeout.mock.calls).toEqual([[3000]]);
    deadline.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError'));
    await expect(outcome).rejects.toMatchObject(unavailable);
    expect(logged).toMatchObject([{ fields: { error: 'timeout' } }]);
  });

  it('is in no log and no error', async () => {
    issuer.fail();
    const token = await byRsa();
    const error = await verify(token).catch((thrown: Error) => thrown);
    const [, payload = '', signature = ''] = token.split('.');
    const told = `${JSON.stringify(logged)} ${String((error as Error).stack)} ${String((error as Error).cause)}`;
    expect(logged).toHaveLength(1);
    expect(told).toContain('HTTP 500');
    for (const part of [token, payload, signature, 'auth0|42']) expect(told).not.toContain(part);
    expect((error as Error).message).not.toContain(issuer.origin);
  });
});

describe('an access token of our own users', () => {
  const user = (more: object = {}) => ({
    ofToken: async (token: string) =>
      token === 'good'
        ? ({ kind: 'found', app: 'taxi', user: { id: '7', isActive: true }, ...more } as const)
        : refuse('token-invalid', 'no'),
  });

  it('names the user by its id', async () => {
    expect(await verifierOf('own', { users: user() }).verify('good')).toEqual(signedIn('7'));
  });

  it.each([
    ['is not known', 'bad', {}],
    ['is of a user of another app', 'good', { app: 'food' }],
    ['is of a user that is not active', 'good', { user: { id: '7', isActive: false } }],
  ])('is invalid when it %s', async (_, token, more) => {
    expect(await verifierOf('own', { users: user(more) }).verify(token)).toEqual(refused('invalid'));
  });

  it('is missing when there is none, and not looked up when it is too large', async () => {
    const { verify } = verifierOf('own');
    expect(await verify(undefined)).toEqual(refused('missing'));
    expect(await verify('x'.repeat(8193))).toEqual(refused('invalid'));
  });
});
