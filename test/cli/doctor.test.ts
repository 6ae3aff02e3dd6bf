import { once } from 'node:events';
import { chmodSync, existsSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { clockFinding } from '../../src/cli/doctor/clock.ts';
import { secretFinding } from '../../src/cli/doctor/installation.ts';
import { publicUrlFinding } from '../../src/cli/doctor/public-url.ts';
import { startTwilioSimulator, type TwilioSimulator } from '../../src/simulators/twilio.ts';
import {
  type Environment,
  type Installation,
  makeInstallation,
  productionEnvironment,
  type Run,
  SECRET,
  twilioEnvironment,
} from './cli.ts';

type Finding = { check: string; result: 'fine' | 'fault' | 'skipped'; detail: string; fix?: string };

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function install(settings?: Record<string, string>): Promise<Installation> {
  const installation = await makeInstallation(settings);
  open.push(installation);
  return installation;
}

async function simulator(): Promise<TwilioSimulator> {
  const started = await startTwilioSimulator();
  open.push({ [Symbol.asyncDispose]: () => started.close() });
  return started;
}

async function examine(installation: Installation, more?: Environment): Promise<Run & { findings: Finding[] }> {
  const run = await installation.json(['doctor'], more);
  const findings = run.body.findings as Finding[];
  const hasFault = findings.some(({ result }) => result === 'fault');
  expect(run.body.ok).toBe(!hasFault);
  expect(run.code).toBe(hasFault ? 1 : 0);
  expect(run.stderr).toBe('');
  return { ...run, findings };
}

function about(findings: readonly Finding[], check: string): Finding | undefined {
  return findings.find((finding) => finding.check === check);
}

describe('doctor', () => {
  it('finds nothing wrong before the first start, and leaves nothing behind', async () => {
    const installation = await install();
    const { code, findings } = await examine(installation);
    expect(code).toBe(0);
    expect(findings.map(({ check, result }) => [check, result])).toEqual([
      ['node', 'fine'],
      ['configuration', 'fine'],
      ['secret', 'fine'],
      ['store', 'fine'],
      ['clock', 'fine'],
      ['port', 'fine'],
      ['public-url', 'skipped'],
      ['providers', 'skipped'],
    ]);
    expect(existsSync(join(installation.directory, 'data'))).toBe(false);
  });

  it('lists all faults of the configuration, each with what to do', async () => {
    const installation = await install({ COUNTERSIGN_MODE: 'production', PORT: '99999', COUNTERSIGN_BRNAD: 'x' });
    const { findings } = await examine(installation);
    const faults = findings.filter(({ result }) => result === 'fault');
    expect(faults.map(({ check }) => check)).toEqual(Array.from({ length: 4 }, () => 'configuration'));
    for (const fault of faults) expect(fault.fix).not.toBe('');
    expect(faults.map(({ detail }) => detail).join('\n')).toContain('COUNTERSIGN_SECRET is missing');
  });

  it('writes a mark for each finding, and an arrow before what to do', async () => {
    const installation = await install(twilioEnvironment(await simulator()));
    const bad = { TWILIO_AUTH_TOKEN: 'not-the-token' };
    const plain = await installation.run(['doctor'], bad);
    expect(plain.code).toBe(1);
    expect(plain.stdout).toMatch(/^✓ node +Node\.js \d+/m);
    expect(plain.stdout).toMatch(/^✗ provider twilio +account \(20003\)\n +→ Twilio refuses the credentials/m);
    expect(plain.stdout).toMatch(/^– public-url +/m);
    expect(plain.stdout).not.toContain('\u001b');
    expect(plain.stdout).not.toContain('not-the-token');
    const forced = await installation.run(['doctor'], { ...bad, FORCE_COLOR: '1' });
    expect(forced.stdout).toContain('\u001b[31m✗');
  });

  describe('about providers', () => {
    it('asks Twilio with these credentials, sends nothing, and compares the clock with the answer', async () => {
      const twilio = await simulator();
      const { code, findings } = await examine(await install(productionEnvironment(twilio)));
      expect(code).toBe(0);
      expect(about(findings, 'provider twilio')?.detail).toContain('balance 12.30 USD');
      expect(about(findings, 'clock')?.detail).toBe('right to 1 s, compared with the Date header of 127.0.0.1');
      expect(about(findings, 'public-url')).toMatchObject({
        result: 'fine',
        detail: 'https://verify.example.com, for the delivery reports of twilio',
      });
      expect(twilio.messages).toEqual([]);
      expect(new Set(twilio.requests.map(({ method }) => method))).toEqual(new Set(['GET']));
    });

    it('says what to do about refused credentials, and looks at the rest all the same', async () => {
      const twilio = await simulator();
      const { findings } = await examine(await install(productionEnvironment(twilio)), {
        TWILIO_AUTH_TOKEN: 'not-the-token',
      });
      expect(about(findings, 'provider twilio')).toMatchObject({
        result: 'fault',
        detail: 'account (20003)',
        fix: expect.stringContaining('TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN'),
      });
      expect(findings.filter(({ result }) => result === 'fault')).toHaveLength(1);
    });

    it('does not wait longer than its deadline for a provider that stalls', async () => {
      const twilio = await simulator();
      twilio.behave({ kind: 'stall' });
      const installation = await install(productionEnvironment(twilio));
      const startedAt = performance.now();
      const { findings } = await examine(installation);
      expect(performance.now() - startedAt).toBeLessThan(8000);
      expect(about(findings, 'provider twilio')).toMatchObject({
        result: 'fault',
        detail: expect.stringMatching(/timeout|no answer/),
      });
    });
  });

  describe('about the clock', () => {
    it("finds it wrong when it is an hour off from a provider's", async () => {
      const server = createServer((_request, response) => {
        response.setHeader('Date', new Date(Date.now() + 3_600_000).toUTCString());
        response.setHeader('Content-Type', 'application/json');
        response.end(JSON.stringify({ sid: `AC${'0'.repeat(32)}`, status: 'active', type: 'Full' }));
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      open.push({ [Symbol.asyncDispose]: async () => void server.close() });
      const TWILIO_BASE_URL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const installation = await install({ ...productionEnvironment(await simulator()), TWILIO_BASE_URL });
      const { findings } = await examine(installation);
      expect(about(findings, 'provider twilio')?.result).toBe('fine');
      const clock = about(findings, 'clock');
      expect(clock).toMatchObject({
        result: 'fault',
        detail: expect.stringMatching(/^it is 3\d{3} s behind, compared/),
      });
    });

    it('finds it set back when the database was written in its future', async () => {
      const installation = await install();
      await installation.run(['keys', 'list']);
      const hence = new Date(Date.now() + 3_600_000);
      utimesSync(join(installation.directory, 'data', 'countersign.db'), hence, hence);
      const { findings } = await examine(installation);
      expect(about(findings, 'clock')).toMatchObject({
        result: 'fault',
        detail: expect.stringContaining('it was set back'),
      });
    });
  });

  describe('about store and secret', () => {
    it('finds a data directory that cannot be made or written', async () => {
      const installation = await install();
      const file = join(installation.directory, 'file');
      writeFileSync(file, '');
      const { findings } = await examine(installation, { DATA_DIR: join(file, 'data') });
      expect(about(findings, 'store')).toMatchObject({ result: 'fault', fix: expect.stringContaining('DATA_DIR') });
    });

    it('finds a file that is no database', async () => {
      const installation = await install();
      await installation.run(['keys', 'list']);
      writeFileSync(
        join(installation.directory, 'data', 'countersign.db'),
        'not a database, and long enough to be read as one',
      );
      const { findings } = await examine(installation);
      expect(about(findings, 'store')).toMatchObject({
        result: 'fault',
        detail: expect.stringContaining('cannot be opened'),
      });
    });

    it('finds a database of another secret, and a secret that others may read', async () => {
      const installation = await install();
      await installation.run(['keys', 'list']);
      const other = await examine(installation, { COUNTERSIGN_SECRET: SECRET });
      expect(other.findings.filter(({ check }) => check === 'secret')).toMatchObject([
        {
          result: 'fault',
          detail: expect.stringContaining('sealed with another'),
          fix: expect.stringContaining('Set the secret'),
        },
      ]);
      chmodSync(join(installation.directory, 'data', 'secret'), 0o644);
      const readable = await examine(installation);
      expect(about(readable.findings, 'secret')).toMatchObject({
        result: 'fault',
        fix: expect.stringContaining('chmod 600'),
      });
    });
  });

  describe('about the port', () => {
    it('tells our own server, another Countersign and another program apart', async () => {
      const installation = await install();
      const server = await installation.serve();
      const own = await examine(installation);
      expect(about(own.findings, 'port')).toMatchObject({
        result: 'fine',
        detail: expect.stringContaining('served by this installation'),
      });

      const other = await install({ PORT: new URL(server.url).port });
      const { findings } = await examine(other);
      expect(about(findings, 'port')).toMatchObject({
        result: 'fault',
        detail: expect.stringContaining('a Countersign with another store'),
      });

      const program = createServer((_request, response) => void response.end('hello')).listen(0, '127.0.0.1');
      await once(program, 'listening');
      open.push({ [Symbol.asyncDispose]: async () => void program.close() });
      const third = await examine(installation, { PORT: String((program.address() as AddressInfo).port) });
      expect(about(third.findings, 'port')).toMatchObject({
        result: 'fault',
        detail: expect.stringContaining('another program'),
      });
    });
  });
});

describe('rules of the doctor', () => {
  it('takes a clock for right up to thirty seconds, by the nearest of those who answered', () => {
    const now = Date.UTC(2026, 10, 20);
    const resultOf = (...aheadMs: number[]) =>
      clockFinding(
        now,
        aheadMs.map((each) => ({ host: 'api.example.com', aheadMs: each })),
        undefined,
      );
    expect(resultOf(30_000).result).toBe('fine');
    expect(resultOf(-30_000).result).toBe('fine');
    expect(resultOf(30_001)).toMatchObject({ result: 'fault', detail: expect.stringContaining('30 s ahead') });
    expect(resultOf(-90_000)).toMatchObject({ result: 'fault', detail: expect.stringContaining('90 s behind') });
    expect(resultOf(3_600_000, 200).result).toBe('fine');
    expect(clockFinding(Date.UTC(1970, 0, 2), [], undefined).result).toBe('fault');
    expect(clockFinding(now, [], now + 30_000).result).toBe('fine');
    expect(clockFinding(now, [], now + 30_001).result).toBe('fault');
  });

  it('wants an address of the internet where delivery reports are to come', () => {
    const resultOf = (publicUrl: string | undefined, reporting = ['twilio']) =>
      publicUrlFinding({ publicUrl, mode: 'production' }, reporting).result;
    for (const publicUrl of [
      undefined,
      'http://localhost:8080',
      'https://192.168.1.20',
      'https://100.64.1.1',
      'http://[::1]:8080',
      'http://[fd00::1]',
    ])
      expect([publicUrl, resultOf(publicUrl)]).toEqual([publicUrl, 'fault']);
    for (const publicUrl of ['https://verify.example.com', 'https://8.8.8.8', 'https://[2001:4860:4860::8888]'])
      expect([publicUrl, resultOf(publicUrl)]).toEqual([publicUrl, 'fine']);
    expect(resultOf('http://localhost:8080', [])).toBe('fine');
    expect(resultOf(undefined, [])).toBe('skipped');
    expect(publicUrlFinding({ publicUrl: undefined, mode: 'development' }, ['twilio']).result).toBe('skipped');
  });

  it('finds a secret that can be guessed, and does not repeat it', () => {
    for (const secret of ['change-me-before-you-go-live-please-1', 'a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6']) {
      const finding = secretFinding({ secret, mode: 'production', dataDir: '' });
      expect(finding).toMatchObject({ result: 'fault', fix: expect.stringContaining('openssl rand') });
      expect(JSON.stringify(finding)).not.toContain(secret);
      expect(secretFinding({ secret, mode: 'development', dataDir: '' }).result).toBe('skipped');
    }
    expect(secretFinding({ secret: SECRET, mode: 'production', dataDir: '' }).result).toBe('fine');
  });
});
