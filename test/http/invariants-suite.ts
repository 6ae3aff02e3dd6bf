import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../src/domain/store.ts';
import { accepted, failed } from '../../src/provider-kit/define-provider.ts';
import { type Answer, problem, problemOf } from './http-client.ts';
import { type RunningServer, startServer, wideLimits, wrong } from './running-server.ts';

/**
 * What must always hold, by its numbers, over HTTP.
 * @param openStore in the place of the embedded one; closed with the server
 */
export function describeInvariants(name: string, openStore?: () => Promise<Store>): void {
  describe(`over ${name}`, () => {
    let server: RunningServer;
    let key: string;
    let last = 0;
    const nextNumber = () => `+99890${String(1_000_000 + ++last)}`;
    const times = <Result>(count: number, make: (index: number) => Promise<Result>) =>
      Promise.all(Array.from({ length: count }, (_, index) => make(index)));
    const check = (id: string, code: string) =>
      server.call('POST', `/v1/verifications/${id}/check`, { body: { code }, key });
    const checkByNumber = (to: string, code: string, more: object = {}) =>
      server.call('POST', '/v1/check', { body: { to, code, ...more }, key });
    const startOf = (body: object, headers: Record<string, string> = {}) =>
      server.call('POST', '/v1/verifications', { body, headers, key });
    const count = (answers: readonly Answer[]) => {
      const counted: Record<string, number> = {};
      for (const { status, json } of answers) {
        const name = `${status} ${status < 300 ? json['status'] : json['code']}`;
        counted[name] = (counted[name] ?? 0) + 1;
      }
      return counted;
    };

    beforeAll(async () => {
      const store = await openStore?.();
      server = await startServer({
        ...(store === undefined ? {} : { parts: { store } }),
        file: {
          mode: 'production',
          apps: {
            default: { limits: wideLimits },
            narrow: { limits: { ...wideLimits, perNumber: [{ max: 5, windowSeconds: 600 }] } },
          },
        },
      });
      key = await server.keyOf();
    });
    afterAll(() => server.close());

    describe('1. one approval', () => {
      it('approves exactly one of 200 right answers at once, by id', async () => {
        const { id, code } = await server.start(nextNumber());
        const answers = await times(200, () => check(id, code));
        expect(count(answers)).toEqual({ '200 approved': 1, '410 verification-settled': 199 });
      });

      it('approves exactly one of 200 right answers at once, by id and by number mixed', async () => {
        const to = nextNumber();
        const { id, code } = await server.start(to);
        const answers = await times(200, (index) => (index % 2 === 0 ? check(id, code) : checkByNumber(to, code)));
        expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
      });
    });

    describe('2. bounded attempts', () => {
      it('compares five codes of 200 wrong ones at once, and then refuses the right one', async () => {
        const { id, code } = await server.start(nextNumber());
        const answers = await times(200, (index) => check(id, wrong(code, index + 1)));
        expect(count(answers)).toEqual({ '422 code-wrong': 5, '429 attempts-exhausted': 195 });
        const left = answers.filter(({ status }) => status === 422).map(({ json }) => json['attempts_left']);
        expect(left.sort()).toEqual([0, 1, 2, 3, 4]);
        expect(problemOf(await check(id, code))).toEqual(problem(429, 'attempts-exhausted'));
      });

      it('gives no new attempts with a resend', async () => {
        const { id, code } = await server.start(nextNumber());
        for (let attempt = 0; attempt < 4; attempt += 1) await check(id, wrong(code));
        server.clock.now += 30_000;
        const resent = await server.call('POST', `/v1/verifications/${id}/resend`, { key });
        expect(resent).toMatchObject({ status: 200, json: { attempts_left: 1 } });
        expect((await check(id, wrong(code))).json['attempts_left']).toBe(0);
        expect(problemOf(await check(id, code))).toEqual(problem(429, 'attempts-exhausted'));
      });
    });

    describe('3. guess budget', () => {
      it('locks a number after 20 wrong codes over new verifications, purposes and both ways of asking', async () => {
        const to = nextNumber();
        let guesses = 0;
        let answer: Answer | undefined;
        for (let round = 0; guesses < 20; round += 1) {
          const purpose = round % 2 === 0 ? 'login' : 'payment';
          // A repeated start gives the same verification: canceled first, so that each round has attempts of its own.
          const started = await startOf({ to, purpose });
          expect(started.status, started.text).toBe(201);
          const code = server.codeFor(to);
          for (let attempt = 0; attempt < 4 && guesses < 20; attempt += 1, guesses += 1) {
            answer =
              attempt % 2 === 0
                ? await check(String(started.json['id']), wrong(code))
                : await checkByNumber(to, wrong(code), { purpose });
            expect(problemOf(answer)).toEqual(problem(422, 'code-wrong', 'code'));
          }
          if (guesses < 20) await server.call('DELETE', `/v1/verifications/${started.json['id']}`, { key });
        }
        const locked = await checkByNumber(to, server.codeFor(to));
        expect(problemOf(locked)).toEqual(problem(429, 'number-locked'));
        expect(problemOf(await startOf({ to }))).toEqual(problem(429, 'number-locked'));
        expect(problemOf(await startOf({ to: `00${to.slice(1)}`, purpose: 'other' }))).toEqual(
          problem(429, 'number-locked'),
        );
        const retryAfterSeconds = Number(locked.headers['retry-after']);
        expect(retryAfterSeconds).toBe(86_400);
        server.clock.now += retryAfterSeconds * 1000;
        const { id, code } = await server.start(to);
        expect((await check(id, code)).status).toBe(200);
      });

      it('lets the owner in with the token of an earlier approval, and nobody else', async () => {
        const to = nextNumber();
        const { id, code } = await server.start(to);
        const token = String((await check(id, code)).json['token']);
        await times(20, () => checkByNumber(to, wrong(code)));
        expect(problemOf(await startOf({ to }))).toEqual(problem(429, 'number-locked'));
        const started = await startOf({ to, approval_token: token });
        expect(started.status, started.text).toBe(201);
        expect((await checkByNumber(to, server.codeFor(to), { approval_token: token })).status).toBe(200);
        const other = nextNumber();
        for (const [number, given] of [
          [other, token],
          [to, `${token.slice(0, -4)}AAAA`],
        ] as const) {
          expect(problemOf(await startOf({ to: number, approval_token: given }))).toEqual(
            problem(400, 'token-invalid', 'approval_token'),
          );
        }
      });
    });

    describe('7. limits do not leak', () => {
      it('lets exactly five of 200 starts at once through, in every spelling of the number', async () => {
        const to = nextNumber();
        const national = to.slice(4);
        const spellings = [
          { to },
          { to: `00${to.slice(1)}` },
          { to: national, country: 'UZ' },
          { to: `${to.slice(0, 4)} (${national.slice(0, 2)}) ${national.slice(2)}` },
        ];
        const narrow = await server.keyOf('narrow');
        const sentBefore = server.phone.sent.length;
        const answers = await times(200, (index) =>
          server.call('POST', '/v1/verifications', { body: spellings[index % 4], key: narrow }),
        );
        expect(count(answers)).toEqual({ '201 pending': 5, '429 rate-limited': 195 });
        expect(server.phone.sent.length - sentBefore).toBe(5);
        const refused = answers.find(({ status }) => status === 429);
        expect(refused?.headers['retry-after']).toBe(String(refused?.json['retry_after']));
        server.clock.now += Number(refused?.headers['retry-after']) * 1000;
        expect((await server.call('POST', '/v1/verifications', { body: { to }, key: narrow })).status).toBe(201);
      });
    });

    describe('9. idempotent', () => {
      it('gives 100 requests with one key the same body and sends one message, also while the first is under way', async () => {
        const to = nextNumber();
        const { promise: taken, resolve: take } = Promise.withResolvers<void>();
        server.phone.behave(async ({ messageId }) => {
          await taken;
          return accepted(messageId);
        });
        const sentBefore = server.phone.sent.length;
        const asked = times(100, () => startOf({ to, metadata: { a: 'b' } }, { 'idempotency-key': 'one' }));
        setTimeout(take, 100);
        const answers = await asked;
        expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
        expect(answers[0]?.status).toBe(201);
        expect(server.phone.sent.length - sentBefore).toBe(1);
        expect((await startOf({ to, metadata: { a: 'b' } }, { 'idempotency-key': 'one' })).text).toBe(answers[0]?.text);
      });

      it('refuses another body or another operation under the same key, and sends nothing', async () => {
        const to = nextNumber();
        const headers = { 'idempotency-key': 'two' };
        expect((await startOf({ to }, headers)).status).toBe(201);
        const sentBefore = server.phone.sent.length;
        for (const body of [{ to: nextNumber() }, { to, locale: 'ru' }, { to, purpose: 'other' }]) {
          expect(problemOf(await startOf(body, headers))).toEqual(problem(409, 'idempotency-conflict'));
        }
        const message = await server.call('POST', '/v1/messages', { body: { to, text: 'a' }, headers, key });
        expect(problemOf(message)).toEqual(problem(409, 'idempotency-conflict'));
        expect(server.phone.sent).toHaveLength(sentBefore);
      });

      it('gives a failed start the same answer again, and does not try the provider a second time', async () => {
        const to = nextNumber();
        server.phone.behave(() => failed('recipient', '21211'));
        const headers = { 'idempotency-key': 'three' };
        const first = await startOf({ to }, headers);
        const sentBefore = server.phone.sent.length;
        const second = await startOf({ to }, headers);
        expect(problemOf(first)).toEqual(problem(422, 'recipient-refused', 'to'));
        expect([second.status, second.text]).toEqual([first.status, first.text]);
        expect(server.phone.sent).toHaveLength(sentBefore);
      });

      it('does not hold a refusal by a limit against the key: the same request passes once there is room', async () => {
        const to = nextNumber();
        const narrow = await server.keyOf('narrow');
        const ask = () =>
          server.call('POST', '/v1/verifications', {
            body: { to },
            headers: { 'idempotency-key': 'four' },
            key: narrow,
          });
        await times(5, () => server.call('POST', '/v1/verifications', { body: { to }, key: narrow }));
        expect((await ask()).status).toBe(429);
        server.clock.now += 600_000;
        expect((await ask()).status).toBe(201);
      });

      it('answers a message of one’s own the same way, with its text only the first time', async () => {
        const to = nextNumber();
        const ask = () =>
          server.call('POST', '/v1/messages', {
            body: { to, text: 'Your driver is here' },
            headers: { 'idempotency-key': 'five' },
            key,
          });
        const sentBefore = server.phone.sent.length;
        const [first, ...others] = await times(20, ask);
        expect(new Set(others.map(({ json }) => json['id']))).toEqual(new Set([first?.json['id']]));
        expect(server.phone.sent.length - sentBefore).toBe(1);
      });
    });

    describe('11. 2xx means approved', () => {
      it('answers every check that approves nothing with 400 or more', async () => {
        const to = nextNumber();
        const { id, code } = await server.start(to);
        const canceled = await server.start(nextNumber());
        await server.call('DELETE', `/v1/verifications/${canceled.id}`, { key });
        const expired = await server.start(nextNumber());
        const answers = [
          await check(id, wrong(code)),
          await check(id, 'abc'),
          await check('ver_00000000000000000000000000', code),
          await check(canceled.id, canceled.code),
          await checkByNumber(to, wrong(code)),
          await checkByNumber(nextNumber(), code),
          await checkByNumber('garbage', code),
          await checkByNumber(to, code, { purpose: 'other' }),
          await server.call('HEAD', `/v1/verifications/${id}/check`, { key }),
          await server.call('OPTIONS', `/v1/verifications/${id}/check`, { key }),
          await server.call('GET', `/v1/verifications/${id}/check?code=${code}`, { key }),
          await server.call('POST', `/v1/verifications/${id}/check?code=${code}`, { key }),
        ];
        server.clock.now += 600_000;
        answers.push(await check(expired.id, expired.code), await check(id, code), await checkByNumber(to, code));
        for (const answer of answers) expect(answer.status, answer.text).toBeGreaterThanOrEqual(400);
      });
    });

    describe('12. nothing to learn', () => {
      const withoutDate = ({ status, headers, text }: Answer) => {
        const { date, ...others } = headers;
        expect(date).toBeTypeOf('string');
        return JSON.stringify({ status, headers: others, text });
      };

      it('gives a wrong code, no verification, an expired, exhausted, canceled or approved one the same bytes by number', async () => {
        const numbers = Array.from({ length: 6 }, nextNumber) as [string, string, string, string, string, string];
        const [pending, none, expired, exhausted, canceled, approved] = numbers;
        const old = await server.start(expired);
        server.clock.now += 600_000;
        const live = await server.start(pending);
        const spent = await server.start(exhausted);
        for (let attempt = 0; attempt < 5; attempt += 1) await check(spent.id, wrong(spent.code));
        const stopped = await server.start(canceled);
        await server.call('DELETE', `/v1/verifications/${stopped.id}`, { key });
        const done = await server.start(approved);
        expect((await check(done.id, done.code)).status).toBe(200);
        const answers = [
          await checkByNumber(pending, wrong(live.code)),
          await checkByNumber(none, '123456'),
          await checkByNumber(expired, old.code),
          await checkByNumber(exhausted, spent.code),
          await checkByNumber(canceled, stopped.code),
          await checkByNumber(approved, done.code),
        ];
        expect(new Set(answers.map(withoutDate)).size).toBe(1);
        expect(problemOf(answers[0] as Answer)).toEqual(problem(422, 'code-wrong', 'code'));
      });

      it('takes the same time for a wrong code as for a number without a verification', async () => {
        const timed = async (to: string, code: string) => {
          const from = performance.now();
          expect((await checkByNumber(to, code)).status).toBe(422);
          return performance.now() - from;
        };
        const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
        // Two requests in a row meet the same load of the machine, so they are compared with each other; each kind goes
        // first as often as last.
        const measure = async () => {
          const ratios: number[] = [];
          for (let pair = 0; pair < 120; pair += 1) {
            const to = nextNumber();
            const { code } = await server.start(to);
            const without = nextNumber();
            const wrongFirst = pair % 2 === 0;
            const first = await (wrongFirst ? timed(to, wrong(code)) : timed(without, '123456'));
            const second = await (wrongFirst ? timed(without, '123456') : timed(to, wrong(code)));
            ratios.push(wrongFirst ? first / second : second / first);
          }
          return median(ratios);
        };
        // Noise is different each time, a leak is there each time.
        const measured: number[] = [];
        const isEven = () => measured.some((ratio) => ratio > 0.88 && ratio < 1.14);
        while (measured.length < 4 && !isEven()) measured.push(await measure());
        expect(isEven(), `wrong code / no verification: ${measured.map((ratio) => ratio.toFixed(2))}`).toBe(true);
      }, 60_000);
    });
  });
}
