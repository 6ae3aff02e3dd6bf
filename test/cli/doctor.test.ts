import { once } from 'node:events';
import { chmodSync, existsSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { clockFinding } from '../../src/cli/doctor/clock.ts';
import { fixOfCode, fixOfReason } from '../../src/cli/doctor/fixes.ts';
import { secretFinding } from '../../src/cli/doctor/installation.ts';
import { publicUrlFinding } from '../../src/cli/doctor/public-url.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import { simulatorDefinitions } from '../../src/simulators/index.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { twilioVerifySimulator } from '../../src/simulators/twilio-verify.ts';
import {
  configure,
  type Environment,
  type Installation,
  makeInstallation,
  productionEnvironment,
  type Run,
  SECRET,
  twilioEnvironment,
} from './cli.ts';

type Finding = { check: string; result: 'fine' | 'fault' | 'skipped'; detail: string; fix?: string };

/** Nobody answers there. */
const NOWHERE = 'http://127.0.0.1:9';
const eskizAccount = { ESKIZ_EMAIL: 'us@example.com', ESKIZ_PASSWORD: 'eskiz-secret', ESKIZ_BASE_URL: NOWHERE };
const getsmsAccount = { GETSMS_LOGIN: 'us', GETSMS_PASSWORD: 'getsms-secret', GETSMS_BASE_URL: NOWHERE };
const playmobileAccount = {
  PLAYMOBILE_LOGIN: 'us',
  PLAYMOBILE_PASSWORD: 'playmobile-secret',
  PLAYMOBILE_ORIGINATOR: '3700',
  PLAYMOBILE_BASE_URL: NOWHERE,
};

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function install(settings?: Record<string, string>): Promise<Installation> {
  const installation = await makeInstallation(settings);
  open.push(installation);
  return installation;
}

async function simulator(): Promise<Simulator> {
  const started = await twilioSimulator.start();
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
      ['route default *', 'fine'],
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

  // Found with the example of Royal Taxi: in production, with every credential forgotten, all was said to be fine.
  it('finds a route that is empty because all of its providers may be missing', async () => {
    const installation = await install({ COUNTERSIGN_MODE: 'production', COUNTERSIGN_SECRET: SECRET });
    configure(installation, { apps: { taxi: { routes: { '*': ['eskiz?', 'twilio?', 'inbox?'] } } } });
    const { findings } = await examine(installation);
    expect(about(findings, 'route taxi *')).toMatchObject({
      result: 'fault',
      detail: expect.stringContaining('none of its providers is configured'),
      fix: expect.stringContaining('apps.taxi.routes.*'),
    });
    expect(about(findings, 'providers')).toEqual({
      check: 'providers',
      result: 'skipped',
      detail: 'none is configured',
    });
    const development = await examine(installation, { COUNTERSIGN_MODE: 'development' });
    expect(about(development.findings, 'route taxi *')).toMatchObject({ result: 'fine', detail: 'inbox' });
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
      twilio.behave('stall');
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

  describe('about every provider', () => {
    // Variables that are in no definition belong to a configuration of the operator's own.
    const simulated = simulatorDefinitions.filter(({ id, environment }) => {
      const known = providerDefinitions.find((each) => each.id === id)?.environment ?? {};
      return Object.keys(environment('')).every((variable) => variable in known);
    });

    it('tries the credentials of all that there are, sends nothing and shows no secret', async () => {
      expect(simulated.length).toBeGreaterThanOrEqual(providerDefinitions.length - 1);
      const vendors = await Promise.all(
        simulated.map(async (definition) => {
          const vendor = await definition.start();
          open.push({ [Symbol.asyncDispose]: () => vendor.close() });
          return { id: definition.id, vendor, environment: definition.environment(vendor.url) };
        }),
      );
      // Those that share an account have to agree on it, so they may need a run of their own.
      const runs: { ids: string[]; environment: Record<string, string> }[] = [];
      for (const { id, environment } of vendors) {
        const fits = (other: Record<string, string>) =>
          Object.entries(environment).every(([name, value]) => (other[name] ?? value) === value);
        const run = runs.find((each) => fits(each.environment)) ?? { ids: [], environment: {} };
        if (run.ids.length === 0) runs.push(run);
        run.ids.push(id);
        Object.assign(run.environment, environment);
      }
      for (const { ids, environment } of runs) {
        const { findings, stdout } = await examine(await install(environment));
        for (const id of ids) {
          // Some have no call that sends nothing.
          const detail = about(findings, `provider ${id}`)?.detail;
          expect(`${id}: ${detail}`).toMatch(/: (answers with these credentials|it has no call that tries)/);
        }
        for (const value of Object.values(environment)) {
          if (/secret|token|pwd|password/i.test(value)) expect(stdout).not.toContain(value);
        }
      }
      expect(vendors.flatMap(({ vendor }) => vendor.messages)).toEqual([]);
    }, 60_000);

    it('names those that no route leads to', async () => {
      const TELEGRAM = { TELEGRAM_TOKEN: 'AAtest-telegram-gateway-token', TELEGRAM_BASE_URL: NOWHERE };
      const { findings } = await examine(await install(TELEGRAM));
      expect(about(findings, 'routes')).toMatchObject({ result: 'skipped', detail: 'no app sends through telegram' });
    });

    it('says that one makes its own codes', async () => {
      const vendor = await twilioVerifySimulator.start();
      open.push({ [Symbol.asyncDispose]: () => vendor.close() });
      const { findings } = await examine(await install(twilioVerifySimulator.environment(vendor.url)));
      expect(about(findings, 'provider twilio-verify')?.detail).toContain('and makes its own codes');
    });

    it('says which are switched off, and how to switch them on', async () => {
      const installation = await install({ ...eskizAccount, ESKIZ_ENABLED: 'false' });
      const { code, findings } = await examine(installation);
      expect(code).toBe(0);
      expect(about(findings, 'provider eskiz')).toEqual({
        check: 'provider eskiz',
        result: 'skipped',
        detail: 'switched off by ESKIZ_ENABLED; set ESKIZ_ENABLED=true, or remove it, to send through it',
      });
      configure(installation, { apps: { default: { routes: { UZ: ['eskiz'] } } } });
      const routed = await examine(installation);
      // A route goes on without it; in development with the inbox.
      expect(about(routed.findings, 'configuration')?.result).toBe('fine');
      const nobody = await examine(
        await install({
          ...eskizAccount,
          ESKIZ_ENABLED: 'off',
          COUNTERSIGN_MODE: 'production',
          COUNTERSIGN_SECRET: SECRET,
        }),
      );
      expect(about(nobody.findings, 'configuration')?.fix).toContain('switched off is at present: ESKIZ_ENABLED');
    });

    it('finds a wait for delivery reports that cannot come, unless the provider can be asked', async () => {
      const wait = { PLAYMOBILE_REPORT_TIMEOUT_SECONDS: '30', ESKIZ_REPORT_TIMEOUT_SECONDS: '40' };
      const installation = await install({ ...eskizAccount, ...playmobileAccount, ...wait });
      const without = await examine(installation);
      expect(about(without.findings, 'reports playmobile')).toMatchObject({
        result: 'fault',
        detail: expect.stringContaining('each code is sent by another way as well, 30 s later'),
        fix: expect.stringContaining('Set PUBLIC_URL'),
      });
      expect(about(without.findings, 'reports eskiz')).toMatchObject({
        result: 'skipped',
        detail: expect.stringContaining('it is asked after 40 s instead'),
      });
      const reachable = await examine(installation, { PUBLIC_URL: 'https://verify.example.com' });
      expect(about(reachable.findings, 'reports playmobile')).toBeUndefined();
    });
  });

  describe('about routes', () => {
    it('tells where each app sends, and what is passed by or leads nowhere', async () => {
      const installation = await install({ ...eskizAccount, ...getsmsAccount });
      configure(installation, {
        apps: {
          taxi: { routes: { UZ: ['eskiz', 'getsms'], RU: ['getsms', 'eskiz'], '*': ['eskiz'] } },
          shop: { allowedCountries: ['UZ', 'KZ'], routes: { UZ: ['eskiz'] } },
          bank: { routes: { UZ: ['eskiz'] } },
        },
      });
      const { findings } = await examine(installation);
      expect(findings.filter(({ check }) => check.startsWith('route '))).toEqual([
        { check: 'route taxi UZ', result: 'fine', detail: 'eskiz, then getsms' },
        {
          check: 'route taxi RU',
          result: 'fault',
          detail: 'getsms, then eskiz; but getsms does not deliver to RU',
          fix: 'Take getsms out of apps.taxi.routes.RU: it is passed by there.',
        },
        { check: 'route taxi *', result: 'fine', detail: 'eskiz' },
        { check: 'route shop UZ', result: 'fine', detail: 'eskiz' },
        {
          check: 'route shop *',
          result: 'fault',
          detail: 'KZ is allowed, and no route leads there',
          fix: 'Add a route for it, or for * (all others), to apps.shop.routes.',
        },
        { check: 'route bank UZ', result: 'fine', detail: 'eskiz' },
        {
          check: 'route bank *',
          result: 'skipped',
          detail: 'none: numbers of other countries are refused (no-provider)',
        },
      ]);
    });

    it('finds what a budget cannot count', async () => {
      const installation = await install({ ...eskizAccount, ...playmobileAccount });
      const budget = { perDay: 5 };
      const app = { budget, allowedCountries: ['UZ', 'KZ'], routes: { UZ: ['eskiz'], '*': ['playmobile'] } };
      configure(installation, { apps: { taxi: app, shop: { budget, routes: { '+99890': ['eskiz'] } } } });
      const { findings } = await examine(installation);
      expect(about(findings, 'budget taxi')).toMatchObject({
        result: 'fault',
        detail: 'no price is known of playmobile to KZ: the budget counts it as nothing',
        fix: expect.stringContaining('`prices`'),
      });
      expect(about(findings, 'budget shop')?.result).toBe('fine');
      const prices = [{ provider: 'playmobile', country: 'KZ', amount: 0.05 }];
      configure(installation, { prices, apps: { taxi: app } });
      expect(about((await examine(installation)).findings, 'budget taxi')?.result).toBe('fine');
      // Without a rate it cannot be counted, and then nothing starts.
      configure(installation, { prices: [{ ...prices[0], currency: 'GBP' }], apps: { taxi: app } });
      expect(about((await examine(installation)).findings, 'configuration')?.result).toBe('fault');
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
        aheadMs.map((each) => ({ source: 'api.example.com', aheadMs: each })),
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

  it('knows what to do about each thing that goes wrong first', () => {
    for (const [vendor, code, fix] of [
      ['twilio', '21608', 'trial account'],
      ['twilio-voice', '21219', 'trial account'],
      ['twilio', '30002', 'add funds'],
      ['twilio', '21408', 'Geo permissions'],
      ['vonage', '29', 'demo account'],
      ['vonage', '9', 'out of credit'],
      ['vonage', '8', 'suspended'],
      ['plivo', '910', 'disabled'],
      ['infobip', 'REJECTED_NOT_ENOUGH_CREDITS', 'out of credit'],
      ['whatsapp', '131030', 'recipients of its list'],
      ['eskiz', 'balance', 'out of credit'],
      ['eskiz', 'test-account', 'contract'],
      ['playmobile', '102', 'locked'],
    ])
      expect(fixOfCode(vendor ?? '', code)).toContain(fix);
    // A number is one vendor's own.
    expect(fixOfCode('plivo', '21608')).toBeUndefined();
    expect(fixOfCode('twiliox', '21608')).toBeUndefined();
    expect(fixOfReason('recipient')).toContain('internationally');
    expect(fixOfReason('account')).toContain('credentials');
    expect(fixOfReason('blocked')).toContain('verified recipients');
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
