import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { examineStore } from '../../src/cli/doctor/installation.ts';
import { resolveConfig } from '../../src/config/load.ts';
import { accepted, type Countersign, createCountersign, type FileConfig, failed } from '../../src/index.ts';
import { openStore } from '../../src/open-store.ts';
import { makeDatabase } from '../servers/index.ts';
import { expectStarted, FakeProvider, type LogLine, NUMBER, noLimits } from '../service/service-bench.ts';

const MINUTE = 60_000;

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

type Installation = {
  readonly config: FileConfig;
  readonly log: LogLine[];
  readonly first: FakeProvider;
  readonly second: FakeProvider;
  open(): Promise<Countersign>;
};

/** An empty database, and as many nodes on it as a test opens. Their time is the real one. */
async function install(): Promise<Installation> {
  const database = await makeDatabase();
  cleanUps.push(() => database.close());
  const dataDir = mkdtempSync(join(tmpdir(), 'countersign-nodes-'));
  cleanUps.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const [first, second] = [new FakeProvider('first'), new FakeProvider('second')];
  const config: FileConfig = {
    mode: 'production',
    secret: 'b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204',
    dataDir,
    databaseUrl: database.url,
    databasePoolSize: 3,
    providers: { first: first.entry(), second: second.entry() },
    apps: { default: { country: 'UZ', routes: { '*': ['first', 'second'] }, limits: noLimits } },
  };
  const log: LogLine[] = [];
  const write = (level: string) => (fields: object, message: string) => void log.push({ ...fields, level, message });
  return {
    config,
    log,
    first,
    second,
    async open() {
      const node = await createCountersign(config, {
        log: { info: write('info'), warn: write('warn'), error: write('error') },
      });
      cleanUps.push(() => node.close());
      return node;
    },
  };
}

async function within<Value>(ms: number, look: () => Promise<Value | undefined> | Value | undefined): Promise<Value> {
  for (const endsAt = performance.now() + ms; ; ) {
    const value = await look();
    if (value !== undefined) return value;
    if (performance.now() > endsAt) throw new Error(`not so within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe.skipIf(inject('postgresUrl') === null)('nodes on one PostgreSQL', () => {
  it('pass by a provider that one of them found dead within a second, and so does one that only starts then', async () => {
    const { open, first } = await install();
    const [a, b] = [await open(), await open()];
    first.answer = async () => failed('account', '401');
    expectStarted(await a.verifications.start({ to: NUMBER }));
    const isOut = (node: Countersign) => node.providers.health()[0]?.state === 'open' || undefined;
    await within(1000, () => isOut(b));
    expectStarted(await b.verifications.start({ to: '+998901234568' }));
    expectStarted(await (await open()).verifications.start({ to: '+998901234569' }));
    expect(first.received).toHaveLength(1);
  });

  it('go by the time of the database where the clock of one is five minutes off', async () => {
    const { open, first, log } = await install();
    first.answer = async ({ messageId }) => accepted(messageId);
    const a = await open();
    for (const offMs of [5 * MINUTE, -5 * MINUTE]) {
      const clock = Date.now;
      vi.spyOn(Date, 'now').mockImplementation(() => clock() + offMs);
      const wrong = await open();
      const { verification } = expectStarted(await wrong.verifications.start({ to: NUMBER, subject: `u${offMs}` }));
      vi.restoreAllMocks();
      expect(Math.abs(verification.expiresAt - Date.now() - 10 * MINUTE)).toBeLessThan(1500);
      expect(log).toContainEqual(expect.objectContaining({ level: 'warn', offMs: expect.closeTo(offMs, -3) }));
      expect(await a.verifications.check({ id: verification.id, code: first.lastCode })).toMatchObject({
        kind: 'approved',
      });
    }
  });

  it('take a key that one of them made at once, and refuse it within two seconds when one has revoked it', async () => {
    const { open } = await install();
    const [a, b] = [await open(), await open()];
    const { key, kept } = await a.keys.create({ app: 'default', name: '' });
    expect(await b.keys.verify(key)).toBe('default');
    await a.keys.revoke(kept.id);
    await within(2100, async () => ((await b.keys.verify(key)) === undefined ? true : undefined));
  });

  it('are told by the doctor which store it is, whether it answers, and what time it is there', async () => {
    const { config } = await install();
    const resolved = resolveConfig(config, {}, [], '/');
    const { findings, clocks } = await examineStore(resolved);
    const { pathname, host } = new URL(resolved.databaseUrl ?? '');
    expect(findings).toEqual([
      {
        check: 'store',
        result: 'fine',
        detail: `PostgreSQL, ${pathname.slice(1)} on ${host}: answers, and can be written`,
      },
    ]);
    expect(Math.abs(clocks?.[0]?.aheadMs ?? Number.NaN)).toBeLessThan(1000);
  });

  it('are told so, without the password, when there is none at that address', async () => {
    const { config } = await install();
    const databaseUrl = 'postgres://somebody:hunter2@127.0.0.1:1/codes';
    const resolved = resolveConfig({ ...config, databaseUrl }, {}, [], '/');
    const silent = { info: () => {}, warn: () => {}, error: () => {} };
    const startedAt = performance.now();
    const error = await openStore(resolved, silent).catch((reason: unknown) => reason);
    expect(performance.now() - startedAt).toBeLessThan(2000);
    expect(error).toMatchObject({ code: 'store-unavailable', message: expect.stringContaining('127.0.0.1:1') });
    const { findings } = await examineStore(resolved);
    expect(findings).toMatchObject([
      { check: 'store', result: 'fault', fix: 'Is it running, and reachable from here?' },
    ]);
    expect(JSON.stringify([findings, String(error)])).not.toContain('hunter2');
  });
});
