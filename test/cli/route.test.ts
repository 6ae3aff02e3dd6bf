import { afterEach, describe, expect, it } from 'vitest';
import { eskizSimulator } from '../../src/simulators/eskiz.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { configure, type Environment, type Installation, makeInstallation, productionEnvironment } from './cli.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function install(settings?: Environment): Promise<Installation> {
  const installation = await makeInstallation(settings);
  open.push(installation);
  return installation;
}

async function simulator(definition = twilioSimulator) {
  const started = await definition.start();
  open.push({ [Symbol.asyncDispose]: () => started.close() });
  return started;
}

const TO = '+998901234567';
/** Nobody is asked: an explanation needs no connection. */
const credentials = {
  ESKIZ_EMAIL: 'us@example.com',
  ESKIZ_PASSWORD: 'eskiz-secret',
  TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
  TWILIO_AUTH_TOKEN: 'twilio-secret',
  TWILIO_PHONE_NUMBER: '+15005550006',
  GETSMS_LOGIN: 'us',
  GETSMS_PASSWORD: 'getsms-secret',
};
const apps = {
  default: { routes: { UZ: ['eskiz', 'twilio'], '*': ['twilio'] } },
  taxi: { brand: 'Royal Taxi', allowedCountries: ['UZ'], routes: { '+99890': ['twilio', 'eskiz'], UZ: ['eskiz'] } },
};

describe('route', () => {
  it('shows who would be tried, in order, with price and channel, and why not the others', async () => {
    const installation = await install(credentials);
    configure(installation, { apps });
    const { code, stdout, stderr } = await installation.run(['route', TO]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(`A code to ${TO} (UZ, mobile) from app default, by its route UZ; text in uz, 1 segment:`);
    expect(stdout).toMatch(/^1\. +eskiz +sms +50 so'm +3 s$/m);
    expect(stdout).toMatch(/^2\. +twilio +sms +\$0\.0530 +3 s$/m);
    expect(stdout).toMatch(/^ {2}getsms +the route UZ does not name it$/m);
    expect(stdout).toContain('States are not seen from here: no server runs at 127.0.0.1:');
    expect(stdout).not.toMatch(/secret|inbox/);
  });

  it('says the same to a program', async () => {
    const installation = await install(credentials);
    configure(installation, { apps });
    const { code, body } = await installation.json([
      'route',
      '90 123 45 67',
      '--country',
      'uz',
      '--app',
      'taxi',
      '--locale',
      'ru',
    ]);
    expect(code).toBe(0);
    expect(body).toEqual({
      app: 'taxi',
      to: TO,
      country: 'UZ',
      line_type: 'mobile',
      locale: 'ru',
      segments: 1,
      route: '+99890',
      tried: [
        { provider: 'twilio', channel: 'sms', price: { amount: 0.053, currency: 'USD' }, deadline_seconds: 3 },
        { provider: 'eskiz', channel: 'sms', price: { amount: 50, currency: 'UZS' }, deadline_seconds: 3 },
      ],
      passed_by: expect.arrayContaining([{ provider: 'getsms', why: 'the route +99890 does not name it' }]),
      states: { seen: false, why: expect.stringContaining('no server runs at') },
    });
  });

  it('exits with 1 when nobody would be tried, and with 3 for a number that the app does not send to', async () => {
    const installation = await install(credentials);
    configure(installation, { apps });
    const nobody = await installation.run(['route', TO, '--channel', 'voice']);
    expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining('no-provider') });
    expect(nobody.stdout).toContain('Nobody would be tried.');
    expect(nobody.stdout).toMatch(/^ {2}eskiz +it does not send by voice$/m);
    const closed = await installation.json(['route', '+77012345678', '--app', 'taxi']);
    expect(closed).toMatchObject({ code: 3, body: { code: 'country-not-allowed' } });
    expect(await installation.json(['route', '90123'])).toMatchObject({ code: 3, body: { code: 'number-invalid' } });
  });

  it('sends nothing and counts nothing', async () => {
    const twilio = await simulator();
    const installation = await install(productionEnvironment(twilio));
    for (let time = 0; time < 7; time += 1) expect((await installation.run(['route', TO])).code).toBe(0);
    expect(twilio.requests).toEqual([]);
    expect((await installation.run(['send', TO])).code).toBe(0);
  });

  it('asks the running server which providers are out of order', async () => {
    const eskiz = await simulator(eskizSimulator);
    const twilio = await simulator();
    const installation = await install({
      ...twilioSimulator.environment(twilio.url),
      ...eskizSimulator.environment(eskiz.url),
    });
    configure(installation, { apps });
    eskiz.behaveAlways('balance');
    const server = await installation.serve();
    const well = await installation.json(['route', TO]);
    expect(well.body.states).toEqual({ seen: true, server: server.url });
    expect(well.body.tried.map(({ state }: { state: string }) => state)).toEqual(['closed', 'closed']);
    expect((await installation.json(['send', TO])).body).toMatchObject({ via: 'server', provider: 'twilio' });

    const { stdout } = await installation.run(['route', TO]);
    expect(stdout).toMatch(/^1\. +eskiz .* out of order \(account\) until \d{4}-/m);
    expect(stdout).toMatch(/^2\. +twilio .* ready$/m);
    expect(stdout).toContain(`States are those of the server at ${server.url}.`);

    const keyed = await installation.run(['route', TO, '--app', 'taxi']);
    expect(keyed.stdout).toContain("which asks for a key of app 'taxi'");

    configure(installation, { apps: { default: { routes: { '*': ['twilio'] } } } });
    expect((await installation.run(['route', TO])).stdout).toContain('started with another configuration');
  });

  it('says that a server in production mode tells its states only with a key', async () => {
    const installation = await install(productionEnvironment(await simulator()));
    const server = await installation.serve();
    const { stdout } = await installation.run(['route', TO]);
    expect(stdout).toContain(`States are not seen from here: they are those of the server at ${server.url}`);
    expect(stdout).toContain(`GET ${server.url}/v1/providers`);
  });
});
