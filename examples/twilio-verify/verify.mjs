// What an app that uses Twilio Verify does, by Twilio's own SDK; one line is new.
//   node verify.mjs send +12125551234
//   node verify.mjs check +12125551234 123456
import { existsSync } from 'node:fs';
import twilio from 'twilio';

if (existsSync('.env')) process.loadEnvFile();
const client = twilio(process.env.COUNTERSIGN_ACCOUNT_SID, process.env.COUNTERSIGN_AUTH_TOKEN);
client.verify.baseUrl = `http://127.0.0.1:${process.env.PORT ?? 8080}`;

const [command, to, code] = process.argv.slice(2);
// An app has the sid of its service in its configuration; here it is the first one, made where there is none.
const [first] = await client.verify.v2.services.list({ limit: 1 });
const { sid } = first ?? (await client.verify.v2.services.create({ friendlyName: 'Acme' }));
const service = client.verify.v2.services(sid);
const verification =
  command === 'send'
    ? await service.verifications.create({ to, channel: 'sms' })
    : await service.verificationChecks.create({ to, code });
console.log(verification.to, verification.status);
