import { execFile } from 'node:child_process';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import {
  eventually,
  type Installation,
  makeInstallation,
  productionEnvironment,
  SECRET,
  twilioEnvironment,
} from './cli.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function install(settings?: Record<string, string>): Promise<Installation> {
  const installation = await makeInstallation(settings);
  open.push(installation);
  return installation;
}

async function simulator() {
  const started = await twilioSimulator.start();
  open.push({ [Symbol.asyncDispose]: () => started.close() });
  return started;
}

/** A message alone: the operator has to act, and a stack would only bury what to do. */
function expectMessage({ code, stderr }: { code: number | null; stderr: string }, ...parts: string[]): void {
  for (const part of parts) expect(stderr).toContain(part);
  expect(stderr).toMatch(/^countersign: /);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(code).toBe(1);
}

describe('serve that cannot start', () => {
  it('lists five faults of the configuration in one message', async () => {
    const installation = await install();
    const run = await installation.run(['serve'], {
      COUNTERSIGN_MODE: 'production',
      COUNTERSIGN_SECRET: 'short',
      COUNTERSIGN_BRNAD: 'Royal Taxi',
      PORT: '99999',
      LOG_LEVEL: 'loud',
      TWILIO_ACCOUNT_SID: 'AC1',
      TWILIO_AUTH_TOKEN: 'token-of-the-account',
      TWILIO_PHONE_NUMBER: '+15005550006',
    });
    expectMessage(
      run,
      'The configuration has 5 faults:',
      'COUNTERSIGN_BRNAD is not a known variable; did you mean COUNTERSIGN_BRAND?',
      'COUNTERSIGN_SECRET is too short',
      'PORT ',
      'LOG_LEVEL must be one of',
      'TWILIO_ACCOUNT_SID must be AC and 32 hexadecimal digits',
    );
    expect(run.stderr).not.toContain('token-of-the-account');
    expect(existsSync(join(installation.directory, 'data'))).toBe(false);
  });

  it('says which port is in use, and how to take another', async () => {
    const installation = await install();
    const port = Number(installation.environment['PORT']);
    await installation.serve();
    const run = await installation.run(['serve']);
    expectMessage(run, `Port ${port} is in use on 127.0.0.1.`, `PORT=${port + 1} `);
  });

  it('says which data directory cannot be written', async () => {
    const installation = await install();
    const file = join(installation.directory, 'file');
    writeFileSync(file, '');
    // A file in the place of a directory stops root too, whom a missing right would not.
    for (const more of [{}, { COUNTERSIGN_SECRET: SECRET }]) {
      const run = await installation.run(['serve'], { DATA_DIR: join(file, 'data'), ...more });
      expectMessage(run, join(file, 'data'), 'ENOTDIR');
    }
  });

  it('says that the database was made with another secret', async () => {
    const installation = await install({ COUNTERSIGN_SECRET: SECRET });
    expect((await installation.run(['keys', 'list'])).code).toBe(0);
    const run = await installation.run(['serve'], { COUNTERSIGN_SECRET: [...SECRET].reverse().join('') });
    expectMessage(run, 'sealed with another COUNTERSIGN_SECRET');
    expect(run.stderr).not.toContain(SECRET);
  });

  it('says that the log file cannot be written', async () => {
    const installation = await install();
    writeFileSync(join(installation.directory, 'file'), '');
    const LOG_FILE = join(installation.directory, 'file', 'server.log');
    expectMessage(await installation.run(['serve'], { LOG_FILE }), `LOG_FILE ${LOG_FILE} cannot be written`);
  });
});

describe('serve in development mode', () => {
  it('greets with a curl line that sends a code, and stops on SIGTERM with 0', async () => {
    const installation = await install();
    const server = await installation.serve();
    const greeting = await eventually(() => (server.stdout().includes('send ') ? server.stdout() : undefined));
    expect(server.url).toBe(`http://127.0.0.1:${installation.environment['PORT']}`);
    expect(greeting).toContain(`${server.url}/inbox`);
    const { DATA_DIR, PORT } = installation.environment;
    expect(greeting).toContain(`DATA_DIR='${DATA_DIR}' PORT=${PORT} npm run -s countersign -- send '+998901234567'`);
    const line = greeting.split('\n').find((each) => each.trimStart().startsWith('curl ')) ?? '';
    // Some machines have no curl: then the same request is made from its parts.
    const [, url = '', body = ''] = /curl -s (\S+) .* -d '([^']+)'$/.exec(line) ?? [];
    const answer = await promisify(execFile)('sh', ['-c', line]).then(
      ({ stdout }) => JSON.parse(stdout) as unknown,
      async () => (await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json(),
    );
    expect(answer).toMatchObject({ status: 'pending', to: '+998901234567', code: expect.stringMatching(/^\d{6}$/) });
    expect(await server.stop()).toBe(0);
    expect(server.stdout()).toContain('stopped');
    expect(server.stderr()).toBe('');
  });

  it('offers a number that its app is open for', async () => {
    const installation = await install();
    const config = { apps: { default: { country: 'SA', allowedCountries: ['SA', 'DE'] } } };
    const COUNTERSIGN_CONFIG = join(installation.directory, 'countersign.config.json');
    writeFileSync(COUNTERSIGN_CONFIG, JSON.stringify(config));
    const server = await installation.serve({ COUNTERSIGN_CONFIG });
    const to = await eventually(() => /"to":"(\+966\d+)"/.exec(server.stdout())?.[1]);
    const answer = await fetch(`${server.url}/v1/verifications`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ to }),
    });
    expect(answer.status).toBe(201);
  });

  it('offers no number of a stranger where codes go to real phones', async () => {
    const installation = await install(twilioEnvironment(await simulator()));
    const server = await installation.serve();
    const greeting = await eventually(() => (server.stdout().includes('send ') ? server.stdout() : undefined));
    expect(greeting).toContain('To real phones through:      twilio');
    expect(greeting).toContain('"to":"YOUR NUMBER"');
    expect(greeting).not.toContain('/inbox');
  });

  it('starts through scripts/run.mjs, which passes SIGTERM on and ends with the same code', async () => {
    const installation = await install();
    const server = await installation.serveByRunner();
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
    expect(await server.stop()).toBe(0);
    await expect(fetch(`${server.url}/healthz`)).rejects.toThrow();
  }, 60_000);
});

const eskizOff = { ESKIZ_EMAIL: 'us@example.com', ESKIZ_PASSWORD: 'eskiz-secret', ESKIZ_ENABLED: 'false' };

describe('log', () => {
  const lines = (text: string) =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  it('is JSON alone on stdout in production', async () => {
    const installation = await install(productionEnvironment(await simulator()));
    const server = await installation.serve();
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
    expect(await server.stop()).toBe(0);
    const messages = lines(server.stdout()).map(({ msg }) => msg);
    expect(messages).toEqual(['provider ready', 'listening', 'request', 'stopping', 'stopped']);
    expect(server.stdout()).not.toContain(SECRET);
  });

  it('says of each provider that it is ready, or switched off and by what', async () => {
    const installation = await install({ ...productionEnvironment(await simulator()), ...eskizOff });
    const server = await installation.serve();
    expect(await server.stop()).toBe(0);
    const [twilio, eskiz] = lines(server.stdout());
    expect(twilio).toMatchObject({ level: 30, msg: 'provider ready', provider: 'twilio', channels: ['sms'] });
    expect(eskiz).toMatchObject({
      level: 30,
      msg: 'provider switched off',
      provider: 'eskiz',
      variable: 'ESKIZ_ENABLED',
    });
    expect(server.stdout()).not.toContain(eskizOff.ESKIZ_PASSWORD);
  });

  it('is for people on stdout in development, and JSON in LOG_FILE, which SIGHUP opens anew', async () => {
    const installation = await install();
    const LOG_FILE = join(installation.directory, 'logs', 'server.log');
    const server = await installation.serve({ LOG_FILE });
    expect(server.stdout()).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: listening/);
    const ask = async (path: string) => expect((await fetch(server.url + path)).status).toBe(200);
    const seen = (file: string, route: string) =>
      eventually(() => (existsSync(file) && readFileSync(file, 'utf8').includes(`"route":"${route}"`)) || undefined);

    await ask('/healthz');
    await seen(LOG_FILE, '/healthz');
    renameSync(LOG_FILE, `${LOG_FILE}.1`);
    server.signal('SIGHUP');
    await eventually(() => existsSync(LOG_FILE) || undefined);
    await ask('/readyz');
    await seen(LOG_FILE, '/readyz');
    expect(await server.stop()).toBe(0);

    expect(lines(readFileSync(`${LOG_FILE}.1`, 'utf8')).map(({ route }) => route)).toContain('/healthz');
    const after = lines(readFileSync(LOG_FILE, 'utf8'));
    expect(after.map(({ msg }) => msg)).toEqual(['request', 'stopping', 'stopped']);
  });

  it('does not take the server along when its file cannot be opened again', async () => {
    const installation = await install();
    const directory = join(installation.directory, 'logs');
    const LOG_FILE = join(directory, 'server.log');
    const server = await installation.serve({ LOG_FILE });
    await eventually(() => existsSync(LOG_FILE) || undefined);
    renameSync(directory, `${directory}.old`);
    writeFileSync(directory, '');
    server.signal('SIGHUP');
    await eventually(() => server.stderr().includes('cannot be written') || undefined);
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
    expect(await server.stop()).toBe(0);
  });
});
