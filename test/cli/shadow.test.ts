import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ShadowEntry } from '../../src/domain/shadow.ts';
import { dayOf } from '../../src/domain/usage.ts';
import { eskizSimulator } from '../../src/simulators/eskiz.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import { type OldBackEnd, startOldBackEnd } from '../http/dialects/old-back-end.ts';
import { configure, eventually, type Installation, makeInstallation, SECRET } from './cli.ts';

const DAY_MS = 86_400_000;
const SEND = '/api/v1/auth/send-otp';
const VERIFY = '/api/v1/auth/verify-otp';

function day(ago: number): string {
  return dayOf(Date.now() - ago * DAY_MS);
}

function entry(given: Partial<ShadowEntry>): ShadowEntry {
  return {
    day: day(0),
    app: 'taxi',
    dialect: 'royal-taxi',
    route: `POST ${SEND}`,
    outcome: 'same',
    upstreamStatus: 200,
    ourStatus: 200,
    difference: '',
    count: 1,
    upstreamExample: '',
    ourExample: '',
    ...given,
  };
}

describe('shadow report', () => {
  const installations: Installation[] = [];
  let old: OldBackEnd;
  let eskiz: Simulator;
  beforeAll(async () => {
    [old, eskiz] = await Promise.all([startOldBackEnd(), eskizSimulator.start()]);
  });
  afterAll(async () => {
    for (const installation of installations) await installation[Symbol.asyncDispose]();
    await Promise.all([old.close(), eskiz.close()]);
  });

  /** An installation with an app in shadow mode, and what was compared in it. */
  async function install(...entries: readonly ShadowEntry[]): Promise<Installation> {
    const installation = await makeInstallation();
    installations.push(installation);
    const dialect = { dialect: 'royal-taxi', shadow: { upstream: old.url } };
    configure(installation, { apps: { taxi: { country: 'UZ', dialect }, shop: {} } });
    const store = openSqliteStore(join(installation.environment['DATA_DIR'] ?? '', 'countersign.db'));
    for (const each of entries) await store.recordShadow(each);
    await store.close();
    return installation;
  }

  const verdictOf = async (installation: Installation, ...args: string[]) => {
    const { body } = await installation.json(['shadow', 'report', ...args]);
    return [body.ready, body.verdict];
  };

  it('shows each route with its differences, the most frequent first, and says that it is not ready', async () => {
    const installation = await install(
      entry({ count: 1180, day: day(1) }),
      entry({ count: 10 }),
      entry({ outcome: 'not-compared', upstreamStatus: undefined, ourStatus: undefined, count: 4 }),
      entry({
        outcome: 'upstream-failed',
        upstreamStatus: undefined,
        ourStatus: undefined,
        difference: 'timeout',
        count: 2,
      }),
      entry({ outcome: 'different', difference: 'rare: string, ours absent', count: 3 }),
      entry({
        outcome: 'different',
        ourStatus: 429,
        difference: 'status: 200, ours 429',
        count: 4,
        day: day(2),
        upstreamExample: 'older',
      }),
      entry({
        outcome: 'different',
        ourStatus: 429,
        difference: 'status: 200, ours 429',
        count: 3,
        upstreamExample: '{"message":"sent"}',
        ourExample: '{"detail":"later"}',
      }),
      entry({ route: `POST ${VERIFY}`, count: 300 }),
    );
    const { code, stdout, stderr } = await installation.run(['shadow', 'report']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe(`All apps, ${day(6)} to ${day(0)} (UTC):

POST ${SEND}  (taxi, royal-taxi)
  compared 1 200, same 1 190, different 10 (0.8 %), not compared 4, without an answer of the old back end 2
  2 × no answer: timeout
  7 × status: 200, ours 429
    old 200: {"message":"sent"}
    new 429: {"detail":"later"}
  3 × rare: string, ours absent
    old 200: (nothing)
    new 200: (nothing)

POST ${VERIFY}  (taxi, royal-taxi)
  compared 300, same 300, different 0 (0.0 %)

Not ready: 10 of 1 500 answers would be different (0.7 %).
`);
    const { body } = await installation.json(['shadow', 'report', '--app', 'taxi', '--days', '2']);
    expect(body).toMatchObject({
      from: day(1),
      to: day(0),
      app: 'taxi',
      ready: false,
      routes: [
        {
          route: `POST ${SEND}`,
          compared: 1196,
          same: 1190,
          different: 6,
          not_compared: 4,
          upstream_failed: 2,
          differences: [
            {
              difference: expect.stringMatching(/^(rare|status)/),
              count: 3,
              upstream: { status: 200 },
              ours: { status: expect.any(Number) },
            },
            { count: 3 },
          ],
          failures: [{ why: 'timeout', count: 2 }],
        },
        { route: `POST ${VERIFY}`, same: 300, different: 0, differences: [] },
      ],
    });
  });

  it('says that it looks ready once enough was seen of every route, and the old back end said yes there', async () => {
    const seen = entry({ count: 1000 });
    const verified = (given: Partial<ShadowEntry>) => entry({ route: `POST ${VERIFY}`, count: 100, ...given });
    const refused = { upstreamStatus: 400, ourStatus: 400 };
    expect(await verdictOf(await install())).toEqual([false, 'Nothing was compared yet.']);
    expect(await verdictOf(await install(seen))).toEqual([
      false,
      `No difference so far, but too little was seen: POST ${VERIFY} of taxi was never compared, and 100 would say something.`,
    ]);
    expect(await verdictOf(await install(seen, verified({ count: 99 })))).toEqual([
      false,
      expect.stringContaining('compared 99 times'),
    ]);
    expect(await verdictOf(await install(seen, verified(refused)))).toEqual([
      false,
      `No difference so far, but the old back end never said yes to POST ${VERIFY} of taxi.`,
    ]);
    const ready = await install(seen, verified({}));
    expect(await verdictOf(ready)).toEqual([true, 'It looks ready: all of 1 100 answers would be the same.']);
    expect((await ready.run(['shadow', 'report'])).stdout).toMatch(/\n\nIt looks ready: .*\n$/);
    expect(await verdictOf(await install(seen, verified({}), verified({ outcome: 'different', count: 1 })))).toEqual([
      false,
      'Not ready: 1 of 1 101 answers would be different (below 0.1 %).',
    ]);
  });

  it('is of one app where one is named, also of one that is no longer configured', async () => {
    const installation = await install(entry({ count: 5 }), entry({ app: 'gone', count: 7 }));
    const { body } = await installation.json(['shadow', 'report', '--app', 'gone']);
    expect(body.routes).toEqual([expect.objectContaining({ app: 'gone', compared: 7 })]);
    expect(await verdictOf(installation, '--app', 'shop')).toEqual([
      false,
      expect.stringMatching(/^No app is in shadow/),
    ]);
    const unknown = await installation.run(['shadow', 'report', '--app', 'taxy']);
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("no app 'taxy'; did you mean taxi?")]);
  });

  it.each(['0', '-1', '1.5', 'week', '401'])('takes no --days %s', async (days) => {
    const { code, stderr } = await (installations[0] as Installation).run(['shadow', 'report', `--days=${days}`]);
    expect([code, stderr]).toEqual([2, expect.stringContaining(`--days is a number from 1 to 400, not '${days}'`)]);
  });

  it('reads what a running server has compared, in production, without a message', async () => {
    const installation = await install();
    const production = {
      ...eskizSimulator.environment(eskiz.url),
      COUNTERSIGN_MODE: 'production',
      COUNTERSIGN_SECRET: SECRET,
      HOST: '127.0.0.1',
    };
    old.behave(() => ({ body: { message: 'sent', expires_in: 60 } }));
    const server = await installation.serve(production);
    const answer = await fetch(server.url + SEND, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ phone: '+998901234567' }),
    });
    expect(await answer.json()).toEqual({ message: 'sent', expires_in: 60 });
    const compared = await eventually(async () => {
      const { body } = await installation.json(['shadow', 'report'], production);
      return body.routes[0].compared === 1 ? body.routes[0] : undefined;
    });
    expect(compared).toMatchObject({ route: `POST ${SEND}`, same: 1, different: 0 });
    expect(eskiz.messages).toEqual([]);
    const { stdout } = await installation.run(['usage'], production);
    expect(stdout).toContain('Nothing was sent.');
    const keys = await installation.run(['keys', 'create', '--app', 'taxi~shadow'], production);
    expect([keys.code, keys.stdout]).toEqual([2, '']);
    const doctor = await installation.run(['doctor'], production);
    expect(doctor.stdout).toMatch(new RegExp(`^– shadow taxi +this app still answers with ${old.url}`, 'm'));
    expect(doctor.stdout).not.toContain('nobody');
    await server.stop();
    expect(server.stdout()).toContain('"shadow mode: the old back end answers');
  });

  it('is named in the greeting of development', async () => {
    const installation = await install();
    const server = await installation.serve();
    await eventually(() => (server.stdout().includes('Send a code') ? true : undefined));
    expect(server.stdout()).toMatch(new RegExp(`^ +In shadow mode: +royal-taxi, answered by ${old.url}$`, 'm'));
    const { stdout } = await installation.run(['doctor']);
    expect(stdout).not.toContain('still answers');
    await server.stop();
  });
});
