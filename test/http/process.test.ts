import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { twilioError, twilioSimulator } from '../../src/simulators/twilio.ts';
import { SECRET, wrong } from './running-server.ts';
import {
  contentsOf,
  freePort,
  makeDataDir,
  makeKey,
  removeDataDir,
  type ServerProcess,
  serveInProcess,
  serveUntilEnd,
} from './server-process.ts';

let dataDir: string;
let server: ServerProcess | undefined;
beforeEach(async () => {
  dataDir = await makeDataDir();
});
afterEach(async () => {
  await server?.stop('SIGKILL');
  server = undefined;
  await removeDataDir(dataDir);
});

/** `needle` with no digit on either side: part of a longer number is no code. */
function holdsCode(text: string, code: string): boolean {
  return new RegExp(`(?<![0-9])${code}(?![0-9])`).test(text);
}

describe('4. no code in the clear', () => {
  it('in production: not in an answer, a log at any level, a metric, the database or its write-ahead log', async () => {
    const simulator = await twilioSimulator.start();
    const credentials = twilioSimulator.environment(simulator.url);
    const key = await makeKey(dataDir, SECRET);
    const logFile = join(dataDir, 'log', 'countersign.log');
    // On a port that is known beforehand, so that the simulator can post its reports.
    const port = await freePort();
    server = await serveInProcess(dataDir, {
      COUNTERSIGN_MODE: 'production',
      COUNTERSIGN_SECRET: SECRET,
      DATA_DIR: dataDir,
      LOG_LEVEL: 'trace',
      LOG_FILE: logFile,
      PORT: String(port),
      PUBLIC_URL: `http://127.0.0.1:${port}`,
      ...credentials,
    });
    const { call } = server;
    let answers = '';
    const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
      const answer = await call(method, path, { body, key, headers });
      answers += `${JSON.stringify(answer.headers)} ${answer.text}\n`;
      return answer;
    };
    const codes = () =>
      simulator.messages.map(({ text }) => /(?<!\d)\d{6}(?!\d)/.exec(text)?.[0]).filter((code) => code !== undefined);

    // Start, repeat, wrong, right, both ways of asking, cancel, custom message, idempotent repetition.
    const { json } = await ask(
      'POST',
      '/v1/verifications',
      { to: '+998901234567', metadata: { a: 'b' } },
      { 'idempotency-key': 'k' },
    );
    await ask('POST', '/v1/verifications', { to: '+998901234567', metadata: { a: 'b' } }, { 'idempotency-key': 'k' });
    const [code = ''] = codes();
    await ask('POST', `/v1/verifications/${json['id']}/resend`, {});
    await ask('POST', `/v1/verifications/${json['id']}/check`, { code: wrong(code) });
    await ask('POST', '/v1/check', { to: '+998901234567', code: wrong(code) });
    await ask('POST', '/v1/check', { to: '+998901234569', code });
    await ask('POST', '/v1/check', { to: 'garbage', code });
    await ask('POST', `/v1/verifications/${json['id']}/check`, `{"code":"${code}"`);
    await ask('POST', `/v1/verifications/${json['id']}/check`, { code, purpose: 'other' });
    expect((await ask('POST', `/v1/verifications/${json['id']}/check`, { code })).status).toBe(200);
    await ask('POST', `/v1/verifications/${json['id']}/check`, { code });
    await ask('GET', `/v1/verifications/${json['id']}?code=${code}`);
    await ask('POST', `/v1/verifications/${json['id']}/check?code=${code}`, { code });
    // Each way in which a provider fails, the message taken or not.
    simulator.behave(
      'bad-number',
      { kind: 'answer', answer: twilioError(500, 20500) },
      'garbage',
      'huge',
      'drop-after-reading',
      'refuse-inside-2xx',
      'redirect',
      { kind: 'answer', answer: twilioError(400, 21617, { message: 'The body was: see below' }) },
    );
    for (let index = 0; index < 8; index += 1) {
      expect((await ask('POST', '/v1/verifications', { to: `+99890123460${index}` })).status).toBeGreaterThanOrEqual(
        400,
      );
    }
    await ask(
      'DELETE',
      `/v1/verifications/${(await ask('POST', '/v1/verifications', { to: '+998901234620' })).json['id']}`,
    );
    await simulator.settled();
    await ask('GET', '/v1/messages');
    await ask('GET', '/metrics');
    await ask('GET', '/readyz');

    const issued = [
      ...new Set(simulator.requests.flatMap(({ form }) => /(?<!\d)\d{6}(?!\d)/.exec(form['Body'] ?? '')?.[0] ?? [])),
    ];
    // Not all of them: after five failures the breaker keeps the rest from the provider.
    expect(issued.length).toBeGreaterThanOrEqual(7);
    const liveFiles = await contentsOf(dataDir);
    expect(await server.stop()).toBe(0);
    const everything = [server.output(), answers, liveFiles, await contentsOf(dataDir)];
    // What is searched is really there.
    expect(liveFiles).toContain('SQLite format 3');
    expect(await readFile(logFile, 'utf8')).toContain('dispatch failed');
    expect(server.output()).toContain('dispatch failed');
    expect(answers).toContain('countersign_http_request_seconds');
    for (const text of everything) {
      for (const one of issued) expect(holdsCode(text, one), `code ${one}`).toBe(false);
      expect(text).not.toContain(credentials['TWILIO_AUTH_TOKEN']);
    }
    const logs = `${server.output()}\n${await readFile(logFile, 'utf8')}`;
    for (const number of ['998901234567', '901234567', '99890123460']) expect(logs).not.toContain(number);
    for (const secret of [key, SECRET])
      for (const text of [logs, answers, liveFiles]) expect(text).not.toContain(secret);
    await simulator.close();
  }, 30_000);

  it('in development: the answers have it, and the log, the database and metrics do not', async () => {
    const logFile = join(dataDir, 'countersign.log');
    server = await serveInProcess(dataDir, { DATA_DIR: dataDir, LOG_LEVEL: 'trace', LOG_FILE: logFile });
    const { call } = server;
    const started = await call('POST', '/v1/verifications', { body: { to: '+998901234567' } });
    const code = String(started.json['code']);
    expect(code).toMatch(/^\d{6}$/);
    const inbox = await call('GET', '/inbox/api/messages');
    expect(inbox.json['messages']).toMatchObject([{ to: '+998901234567', code }]);
    await call('POST', '/v1/check', { body: { to: '+998901234567', code: wrong(code) } });
    expect((await call('POST', '/v1/check', { body: { to: '+998901234567', code } })).status).toBe(200);
    const metrics = (await call('GET', '/metrics')).text;
    const liveFiles = await contentsOf(dataDir);
    expect(await server.stop()).toBe(0);
    expect(liveFiles).toContain('SQLite format 3');
    expect(await readFile(logFile, 'utf8')).toContain('"msg":"request"');
    for (const text of [server.output(), metrics, liveFiles, await contentsOf(dataDir)]) {
      expect(holdsCode(text, code)).toBe(false);
    }
  });
});

describe('14. no insecure start', () => {
  it('refuses to start in production and lists all faults at once', async () => {
    await writeFile(
      join(dataDir, 'countersign.config.json'),
      JSON.stringify({
        apps: {
          default: {
            codeTtlSeconds: 901,
            maxAttempts: 11,
            guesses: { max: 101 },
            routes: { '*': ['inbox'] },
            colour: 'red',
          },
          taxi: { limits: { perNumber: [] }, country: 'XX', routes: { UZ: ['twillio'] } },
        },
        trustedProxies: ['10.0.0.0/8', 'nginx'],
        retentionDay: 3,
      }),
    );
    const { exitCode, output } = await serveUntilEnd(dataDir, {
      NODE_ENV: 'production',
      DATA_DIR: dataDir,
      COUNTERSIGN_SECRT: 'x',
      PORT: '99999',
      PUBLIC_URL: 'verify.example',
      TWILIO_ACCOUNT_SID: 'AC1',
    });
    expect(exitCode).not.toBe(0);
    for (const fault of [
      'COUNTERSIGN_SECRET is missing',
      'COUNTERSIGN_SECRT is not a known variable; did you mean COUNTERSIGN_SECRET?',
      'apps.default.codeTtlSeconds must be <= 900',
      'apps.default.maxAttempts must be <= 10',
      'apps.default.guesses.max must be <= 100',
      'apps.default.colour is not a known key',
      'apps.default.routes.* names the inbox, which shows every code',
      'apps.taxi.limits.perNumber is empty',
      'apps.taxi.country names XX',
      'apps.taxi.routes.UZ names twillio, which is not configured',
      'retentionDay is not a known key; did you mean retentionDays?',
      'PORT must be <= 65535',
      'PUBLIC_URL does not have the form',
      'TWILIO_ACCOUNT_SID must be AC and 32 hexadecimal digits',
      'TWILIO_AUTH_TOKEN is missing',
      'trustedProxies names nginx',
    ]) {
      expect(output).toContain(fault);
    }
    // A person reads it, not a debugger.
    expect(output).not.toMatch(/^\s+at /m);
  });

  it('refuses a short secret, a simple one, and the inbox as the only provider', async () => {
    for (const [secret, fault] of [
      ['4f8a2c6e', 'COUNTERSIGN_SECRET is too short'],
      ['a'.repeat(64), 'COUNTERSIGN_SECRET is too simple'],
    ] as const) {
      const environment = { COUNTERSIGN_MODE: 'production', COUNTERSIGN_SECRET: secret, DATA_DIR: dataDir };
      const { exitCode, output } = await serveUntilEnd(dataDir, environment);
      expect(exitCode).not.toBe(0);
      expect(output).toContain(fault);
      expect(output).toContain('apps.default has no provider to send with');
      expect(output).not.toContain(secret);
    }
  });
});

describe('a signal', () => {
  it('ends the process with 0, quickly, also while events are read and connections are kept alive', async () => {
    server = await serveInProcess(dataDir, { DATA_DIR: dataDir });
    await Promise.all(Array.from({ length: 5 }, () => server?.call('GET', '/healthz')));
    const events = await fetch(`${server.origin}/inbox/api/events`);
    const startedAt = performance.now();
    expect(await server.stop('SIGTERM')).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(3000);
    await events.text();
  });
});
