// Prints an access token as SimpleJWT makes them, signed with HOST_JWT_SECRET: for trying, in place of a login.
//   node token.mjs [user id] [language] [e-mail address]
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';

if (existsSync('.env')) process.loadEnvFile();
const secret = process.env.HOST_JWT_SECRET;
if (!secret) {
  console.error('HOST_JWT_SECRET is not set: put it into .env, as .env.example has it.');
  process.exit(1);
}

const [user = '1', locale, email] = process.argv.slice(2);
const issuedAt = Math.floor(Date.now() / 1000);
const claims = {
  token_type: 'access',
  exp: issuedAt + 3600,
  iat: issuedAt,
  jti: randomBytes(16).toString('hex'),
  user_id: user,
  // Left out of the token where they are not given.
  locale,
  email,
};
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
console.log(`${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`);
