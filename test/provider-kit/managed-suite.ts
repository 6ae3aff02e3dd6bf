import type { TObject } from 'typebox';
import { describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { ManagedCheckOutcome, ManagedProvider, ManagedStart, SendOutcome } from '../../src/domain/provider.ts';
import type { ManagedDefinition } from '../../src/provider-kit/define-provider.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import {
  type AnyFixtures,
  benchOf,
  describeProbe,
  describeReports,
  describeSettings,
  type Misbehaviour,
  PROMPT_MS,
  type ProviderBench,
  setStage,
  TO,
} from './provider-bench.ts';

/** A simulator that makes codes itself, behind the face that the suite knows. */
export type ManagedBench = ProviderBench & {
  /** The code that the person read last. */
  lastCode(): string;
  /** Moves the simulator's clock. */
  elapse(ms: number): void;
};

export type ManagedFixtures<Settings extends TObject> = AnyFixtures<Settings, ManagedBench> & {
  readonly definition: ManagedDefinition<Settings>;
  /** The start to make, where the usual one does not do. */
  readonly start?: Partial<ManagedStart>;
  /** How long the vendor's codes live. */
  readonly codeLifeMs: number;
  /** After how many wrong codes the vendor compares no more. */
  readonly maxChecks: number;
};

/** @param elapse moves the clock that the simulator was given */
export function managedBenchOf(simulator: Simulator, elapse: (ms: number) => void): ManagedBench {
  return {
    ...benchOf(simulator),
    elapse,
    lastCode: () => /\b\d{4,10}\b/.exec(simulator.messages.at(-1)?.text ?? '')?.[0] ?? '',
  };
}

export function managedStart(over: Partial<ManagedStart> = {}): ManagedStart {
  return {
    messageId: 'msg_00000000000000000000000001',
    to: TO as PhoneNumber,
    channel: 'sms',
    brand: 'Acme',
    locale: 'en',
    validitySeconds: 300,
    ...over,
  };
}

/** Another code of the same length. */
export function wrongCodeFor(code: string, distance = 1): string {
  return String((Number(code) + distance) % 10 ** code.length).padStart(code.length, '0');
}

/** What may become of an answer to either request; a 2xx that cannot be understood is neither an approval nor a refusal. */
const outages: readonly (readonly [Misbehaviour, string])[] = [
  ['throttle', 'says throttled when asked to slow down'],
  ['credentials', 'blames the account when the credentials are refused from one moment to the next'],
  ['server-error', 'does not know after a 500 what became of it'],
  ['garbage', 'says uncertain after a 2xx that breaks off'],
  ['html', 'says uncertain after a page instead of an answer'],
  ['empty', 'says uncertain after an empty 2xx'],
  ['invalid-utf8', 'says uncertain after bytes that are no text'],
  ['huge', 'says uncertain after ten megabytes, and does not read them all'],
  ['drop-before-reading', 'survives a connection that closes before the request is read'],
  ['drop-after-reading', 'says uncertain when the connection closes after the request'],
];

const refusals: readonly (readonly [Misbehaviour, string])[] = [
  ['bad-number', 'stops at a number that is invalid for everybody'],
  ['refuse-inside-2xx', 'sees a refusal inside a 2xx'],
  ['balance', 'blames the account when it is empty'],
  ['content', 'blames the content when the template or the sender is refused'],
  ['no-id', 'says uncertain after a 2xx without an id'],
];

/**
 * What must hold for every managed provider.
 * @example describeManagedProvider('acme', { definition: acme, open: openAcmeSimulator, … });
 */
export function describeManagedProvider<Settings extends TObject>(
  name: string,
  fixtures: ManagedFixtures<Settings>,
): void {
  describe(`managed provider: ${name}`, () => {
    const stage = setStage(fixtures, fixtures.definition.create);
    const { bench, open, closeBench, hear, keepSecret, itMisbehaves } = stage;

    async function start(
      provider: ManagedProvider,
      over: Partial<ManagedStart> = {},
      signal = AbortSignal.timeout(10_000),
    ): Promise<SendOutcome> {
      const outcome = hear(await provider.start(managedStart({ ...fixtures.start, ...over }), signal));
      if (bench().lastCode() !== '') keepSecret(bench().lastCode());
      return outcome;
    }

    /** A code that is on its way, and the vendor's id of it. */
    async function started(provider: ManagedProvider, over: Partial<ManagedStart> = {}) {
      const outcome = await start(provider, over);
      expect(outcome).toMatchObject({ kind: 'accepted', providerMessageId: expect.stringMatching(/\S/) });
      return { id: outcome.kind === 'accepted' ? outcome.providerMessageId : '', code: bench().lastCode() };
    }

    async function check(
      provider: ManagedProvider,
      providerMessageId: string,
      code: string,
      signal = AbortSignal.timeout(10_000),
    ): Promise<ManagedCheckOutcome> {
      keepSecret(code);
      const to = fixtures.start?.to ?? (TO as PhoneNumber);
      return hear(await provider.check({ providerMessageId, to, code }, signal));
    }

    function expectFailure(outcome: SendOutcome | ManagedCheckOutcome, reasons: readonly string[]): void {
      expect(outcome).toMatchObject({ kind: 'failed', code: expect.stringMatching(/^[\w .:-]{1,64}$/) });
      expect(reasons).toContain(outcome.kind === 'failed' ? outcome.reason : undefined);
    }

    describeSettings(fixtures, stage);

    describe('starting', () => {
      it('says accepted, and the vendor sends a code', async () => {
        expect((await started(await open())).code).toMatch(/^\d{4,10}$/);
      });

      it('starts twenty numbers at once, each with an id of its own', async () => {
        const provider = await open();
        const numbers = Array.from({ length: 20 }, (_, index) => `+9989012345${10 + index}` as PhoneNumber);
        const ids = await Promise.all(numbers.map(async (to) => (await started(provider, { to })).id));
        expect(new Set(ids).size).toBe(20);
      });

      it('sends again, and the code that was sent last is right', async () => {
        const provider = await open();
        const { id: previousId } = await started(provider);
        const { id, code } = await started(provider, { previousId });
        expect(await check(provider, id, code)).toEqual({ kind: 'approved' });
      });

      it('gives the first start of a verification a code that no other one has', async () => {
        const provider = await open();
        const other = await started(provider);
        const own = await started(provider);
        expect(own.id).not.toBe(other.id);
        expect((await check(provider, own.id, other.code)).kind).not.toBe('approved');
        expect((await check(provider, other.id, own.code)).kind).not.toBe('approved');
        expect(await check(provider, own.id, own.code)).toEqual({ kind: 'approved' });
      });

      it('blames the account for wrong credentials', async () => {
        const provider = await open(fixtures.wrongSettings(bench().url));
        expectFailure(await start(provider), ['account']);
      });

      for (const [what, sentence] of [...refusals, ...outages]) {
        itMisbehaves(what, sentence, async (reasons) => {
          const provider = await open();
          bench().misbehave(what);
          expectFailure(await start(provider), reasons);
          // Whatever happened is over: the next code is not touched by it.
          const { id, code } = await started(provider);
          expect(await check(provider, id, code)).toEqual({ kind: 'approved' });
        });
      }

      itMisbehaves('redirect', 'follows no redirect', async (reasons) => {
        const provider = await open();
        bench().misbehave('redirect');
        expectFailure(await start(provider), reasons);
        expect(bench().requestCount()).toBe(1);
      });

      it('says unavailable when nobody listens', async () => {
        const provider = await open();
        await closeBench();
        expectFailure(await start(provider), ['unavailable']);
      });

      it('says unavailable, and sends nothing, for an attempt that is over before it begins', async () => {
        expectFailure(await start(await open(), {}, AbortSignal.abort()), ['unavailable']);
        expect(bench().requestCount()).toBe(0);
      });
    });

    describe('checking', () => {
      it('approves the right code', async () => {
        const provider = await open();
        const { id, code } = await started(provider);
        expect(await check(provider, id, code)).toEqual({ kind: 'approved' });
      });

      it('says wrong to another code, and the right one is still good', async () => {
        const provider = await open();
        const { id, code } = await started(provider);
        expect(await check(provider, id, wrongCodeFor(code))).toEqual({ kind: 'wrong' });
        expect(await check(provider, id, code)).toEqual({ kind: 'approved' });
      });

      it('approves once: afterwards the code is gone', async () => {
        const provider = await open();
        const { id, code } = await started(provider);
        await check(provider, id, code);
        expect(await check(provider, id, code)).toEqual({ kind: 'gone' });
      });

      it('approves one of twenty checks at once', async () => {
        const provider = await open();
        const { id, code } = await started(provider);
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => check(provider, id, code)));
        expect(outcomes.filter(({ kind }) => kind === 'approved')).toHaveLength(1);
      });

      it('says gone when the code has expired at the vendor', async () => {
        const provider = await open();
        const { id, code } = await started(provider);
        bench().elapse(fixtures.codeLifeMs);
        expect(await check(provider, id, code)).toEqual({ kind: 'gone' });
      });

      it('says gone, also to the right code, when the vendor compares no more', async () => {
        const provider = await open();
        const { id, code } = await started(provider);
        for (let count = 1; count <= fixtures.maxChecks; count += 1) {
          expect(await check(provider, id, wrongCodeFor(code, count))).toEqual({ kind: 'wrong' });
        }
        expect(await check(provider, id, code)).toEqual({ kind: 'gone' });
      });

      it('blames the account for wrong credentials', async () => {
        const { id, code } = await started(await open());
        const provider = await open(fixtures.wrongSettings(bench().url));
        expectFailure(await check(provider, id, code), ['account']);
      });

      for (const [what, sentence] of outages) {
        itMisbehaves(what, sentence, async (reasons) => {
          const provider = await open();
          const { id, code } = await started(provider);
          bench().misbehave(what);
          expectFailure(await check(provider, id, code), reasons);
          const later = await started(provider);
          expect(await check(provider, later.id, later.code)).toEqual({ kind: 'approved' });
        });
      }

      itMisbehaves('redirect', 'follows no redirect', async (reasons) => {
        const provider = await open();
        const { id, code } = await started(provider);
        const before = bench().requestCount();
        bench().misbehave('redirect');
        expectFailure(await check(provider, id, code), reasons);
        expect(bench().requestCount()).toBe(before + 1);
      });

      it('says unavailable when nobody listens', async () => {
        const provider = await open();
        const { id, code } = await started(provider);
        await closeBench();
        // A connection that was kept open may just have been written to.
        expectFailure(await check(provider, id, code), ['unavailable', 'uncertain']);
        expectFailure(await check(provider, id, code), ['unavailable']);
      });

      it('says unavailable, and asks nothing, for an attempt that is over before it begins', async () => {
        const provider = await open();
        const { id, code } = await started(provider);
        const before = bench().requestCount();
        expectFailure(await check(provider, id, code, AbortSignal.abort()), ['unavailable']);
        expect(bench().requestCount()).toBe(before);
      });
    });

    describe('deadlines', () => {
      for (const what of ['stall', 'stall-in-body'] as const) {
        itMisbehaves(what, `starts end promptly when aborted: ${what}`, async (reasons) => {
          const provider = await open();
          const attempt = new AbortController();
          bench().misbehave(what);
          const outcome = start(provider, {}, attempt.signal);
          await bench().received(1);
          const abortedAt = performance.now();
          attempt.abort();
          expectFailure(await outcome, reasons);
          expect(performance.now() - abortedAt).toBeLessThan(PROMPT_MS);
        });

        itMisbehaves(what, `checks end promptly when aborted: ${what}`, async (reasons) => {
          const provider = await open();
          const { id, code } = await started(provider);
          const attempt = new AbortController();
          const before = bench().requestCount();
          bench().misbehave(what);
          const outcome = check(provider, id, code, attempt.signal);
          await bench().received(before + 1);
          const abortedAt = performance.now();
          attempt.abort();
          expectFailure(await outcome, reasons);
          expect(performance.now() - abortedAt).toBeLessThan(PROMPT_MS);
        });
      }

      itMisbehaves('stall', 'keeps to the deadline of its signal', async (reasons) => {
        const provider = await open();
        bench().misbehave('stall');
        const startedAt = performance.now();
        expectFailure(await start(provider, {}, AbortSignal.timeout(200)), reasons);
        expect(performance.now() - startedAt).toBeLessThan(200 + PROMPT_MS);
      });
    });

    describeReports(fixtures.reports, stage);
    describeProbe(fixtures, stage);
  });
}
