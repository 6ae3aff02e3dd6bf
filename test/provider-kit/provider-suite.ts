import { inspect } from 'node:util';
import type { Static, TObject } from 'typebox';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type {
  DeliveryReport,
  FailureReason,
  MessagingProvider,
  OutgoingMessage,
  ReportRequest,
  SendOutcome,
} from '../../src/domain/provider.ts';
import type { ProviderDefinition } from '../../src/provider-kit/define-provider.ts';

/** What may go wrong on the other side; every simulator can do each of these, or its fixtures say why the provider cannot. */
export type Misbehaviour =
  /** The refusals. */
  | 'bad-number'
  | 'refuse-inside-2xx'
  | 'throttle'
  | 'server-error'
  /** 2xx that cannot be understood. */
  | 'garbage'
  | 'html'
  | 'empty'
  | 'invalid-utf8'
  | 'huge'
  | 'no-id'
  /** The rest. */
  | 'redirect'
  | 'stall'
  | 'stall-in-body'
  | 'drop-before-reading'
  | 'drop-after-reading';

/** Which reasons the suite accepts for each; fixtures may narrow or replace them. */
const expectedReasons: Readonly<Record<Misbehaviour, readonly FailureReason[]>> = {
  'bad-number': ['recipient'],
  'refuse-inside-2xx': ['recipient', 'blocked', 'content', 'coverage', 'account', 'throttled', 'unavailable'],
  throttle: ['throttled'],
  'server-error': ['uncertain'],
  garbage: ['uncertain'],
  html: ['uncertain'],
  empty: ['uncertain'],
  'invalid-utf8': ['uncertain'],
  huge: ['uncertain'],
  'no-id': ['uncertain'],
  redirect: ['uncertain', 'unavailable', 'account'],
  stall: ['uncertain'],
  'stall-in-body': ['uncertain'],
  // The connection stood, so the request may have been written: nobody can know more.
  'drop-before-reading': ['uncertain', 'unavailable'],
  'drop-after-reading': ['uncertain'],
};

/** The other side of the wire: a provider's simulator behind one face. */
export type ProviderBench = {
  readonly url: string;
  /** Requests of any kind that have arrived so far. */
  requestCount(): number;
  /** Resolves when the `count`-th request has arrived. */
  received(count: number): Promise<void>;
  /** The next request gets this; later ones are treated well again. */
  misbehave(what: Misbehaviour): void;
  close(): Promise<void>;
};

export type ReportFixtures = {
  /** A genuine report of each state that the provider knows, and what it must be read as. */
  readonly states: readonly {
    readonly name: string;
    readonly request: ReportRequest;
    readonly expected: readonly Partial<DeliveryReport>[];
  }[];
  /** Bodies that carry no report at all, in genuine wrapping. */
  readonly malformed: readonly ReportRequest[];
  /** What no reader may believe: wrong signature, changed body, missing header, old time. `unsigned` where nothing is signed. */
  readonly forged: readonly { readonly name: string; readonly request: ReportRequest }[] | 'unsigned';
};

export type ProviderFixtures<Settings extends TObject> = {
  readonly definition: ProviderDefinition<Settings>;
  open(): Promise<ProviderBench>;
  /** Settings that the simulator accepts. Whatever the schema marks `secret` is looked for in every outcome. */
  settings(url: string): Static<Settings>;
  /** The same with credentials that it refuses. */
  wrongSettings(url: string): Static<Settings>;
  /** More strings that must not show up anywhere, e.g. a header made of the credentials. */
  readonly secrets?: readonly string[];
  /** The message to send, where the usual one does not do. */
  readonly message?: Partial<OutgoingMessage>;
  /** Which requests one `send` makes when all goes well: 1, or more for a provider with a login. */
  readonly requestsPerSend?: number;
  /** Misbehaviours that this provider cannot show, each with the reason: it becomes the name of a test. */
  readonly cannot?: Partial<Record<Misbehaviour, string>>;
  /** Where this provider's reasons differ from the usual ones. */
  readonly reasons?: Partial<Record<Misbehaviour, readonly FailureReason[]>>;
  readonly reports: ReportFixtures | 'none';
  /** Whether there is a `probe`. */
  readonly hasProbe: boolean;
};

/** The text has something in it that no outcome may repeat. */
const CODE = '830417';
const TO = '+998901234567';
/** A promise that takes longer than this after an abort did not end promptly. */
const PROMPT_MS = 1000;

export function outgoingMessage(over: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    messageId: 'msg_00000000000000000000000001',
    to: TO as PhoneNumber,
    channel: 'sms',
    text: `Your code is ${CODE}`,
    locale: 'en',
    validitySeconds: 300,
    ...over,
  };
}

/**
 * What must hold for every messaging provider.
 * @example describeProvider('acme', { definition: acme, open: openAcmeSimulator, … });
 */
export function describeProvider<Settings extends TObject>(name: string, fixtures: ProviderFixtures<Settings>): void {
  describe(`messaging provider: ${name}`, () => {
    const { definition } = fixtures;
    let bench: ProviderBench;
    let opened: MessagingProvider[];
    /** Everything that the provider said in this test, for the search at its end. */
    let said: unknown[];
    let printed: string[];

    beforeEach(async () => {
      [opened, said, printed] = [[], [], []];
      for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
        vi.spyOn(console, method).mockImplementation((...values) => void printed.push(inspect(values)));
      }
      bench = await fixtures.open();
    });

    afterEach(async () => {
      vi.restoreAllMocks();
      for (const provider of opened) await provider.close?.();
      await bench.close();
      const settings = [fixtures.settings(bench.url), fixtures.wrongSettings(bench.url)];
      const secrets = [
        ...settings.flatMap((each) => secretsOf(definition.settings, each)),
        ...(fixtures.secrets ?? []),
      ];
      const words = said.flatMap((value) => [
        JSON.stringify(value) ?? '',
        inspect(value, { depth: null, showHidden: true }),
      ]);
      for (const word of [...words, ...printed]) {
        for (const secret of [...secrets.flatMap(disguises), CODE, TO, TO.slice(1)]) expect(word).not.toContain(secret);
      }
    });

    async function open(settings = fixtures.settings(bench.url)): Promise<MessagingProvider> {
      const provider = await definition.create(settings, { now: Date.now });
      opened.push(provider);
      return provider;
    }

    async function send(provider: MessagingProvider, signal = AbortSignal.timeout(10_000)): Promise<SendOutcome> {
      const outcome = await provider.send(outgoingMessage(fixtures.message), signal);
      said.push(outcome);
      return outcome;
    }

    function parse(provider: MessagingProvider, request: ReportRequest) {
      const outcome = provider.parseReport?.(request);
      // A delivery report may name what it was sent; only what we make of it is searched.
      said.push(outcome);
      return outcome;
    }

    /** A test of one misbehaviour, or one that states why there is none. */
    function itMisbehaves(
      what: Misbehaviour,
      sentence: string,
      run: (reasons: readonly FailureReason[]) => Promise<void>,
    ) {
      const why = fixtures.cannot?.[what];
      if (why === undefined) it(sentence, () => run(fixtures.reasons?.[what] ?? expectedReasons[what]));
      else it(`has no ${what}: ${why}`, () => expect(fixtures.cannot).toHaveProperty(what));
    }

    describe('settings', () => {
      it('finds no fault in good ones', () => {
        expect(definition.faults?.(fixtures.settings(bench.url)) ?? []).toEqual([]);
      });

      it('fills only settings that the schema knows, and takes no others', () => {
        const known: readonly string[] = Object.keys(definition.settings.properties);
        expect(Object.values<string>(definition.environment).filter((name) => !known.includes(name))).toEqual([]);
        expect(definition.settings).toMatchObject({ additionalProperties: false });
      });

      it('marks a credential as secret', () => {
        expect(secretsOf(definition.settings, fixtures.settings(bench.url))).not.toEqual([]);
      });

      it('can be pointed at another address through the environment', () => {
        const prefix = definition.id.toUpperCase().replaceAll('-', '_');
        expect(definition.environment).toHaveProperty(`${prefix}_BASE_URL`);
      });
    });

    describe('sending', () => {
      it('says accepted, with an id of its own for each message', async () => {
        const provider = await open();
        const ids = [await send(provider), await send(provider)].map((outcome) => {
          expect(outcome).toMatchObject({ kind: 'accepted', providerMessageId: expect.stringMatching(/\S/) });
          return outcome.kind === 'accepted' ? outcome.providerMessageId : undefined;
        });
        expect(new Set(ids).size).toBe(2);
      });

      it('carries twenty messages at once', async () => {
        const provider = await open();
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => send(provider)));
        expect(outcomes.map(({ kind }) => kind)).toEqual(Array.from({ length: 20 }, () => 'accepted'));
      });

      it('blames the account for wrong credentials', async () => {
        const outcome = await send(await open(fixtures.wrongSettings(bench.url)));
        expect(outcome).toMatchObject({ kind: 'failed', reason: 'account' });
      });

      const refusals: readonly (readonly [Misbehaviour, string])[] = [
        ['bad-number', 'stops at a number that is invalid for everybody'],
        ['refuse-inside-2xx', 'sees a refusal inside a 2xx'],
        ['throttle', 'says throttled when asked to slow down'],
        ['server-error', 'does not know after a 500 whether the message went out'],
        ['garbage', 'says uncertain after a 2xx that breaks off'],
        ['html', 'says uncertain after a page instead of an answer'],
        ['empty', 'says uncertain after an empty 2xx'],
        ['invalid-utf8', 'says uncertain after bytes that are no text'],
        ['huge', 'says uncertain after ten megabytes, and does not read them all'],
        ['no-id', 'says uncertain after a 2xx without an id'],
        ['drop-before-reading', 'survives a connection that closes before the request is read'],
        ['drop-after-reading', 'says uncertain when the connection closes after the request'],
      ];
      for (const [what, sentence] of refusals) {
        itMisbehaves(what, sentence, async (reasons) => {
          const provider = await open();
          bench.misbehave(what);
          const outcome = await send(provider);
          expect(outcome).toMatchObject({ kind: 'failed', code: expect.stringMatching(/^[\w .:-]{1,64}$/) });
          expect(reasons).toContain(outcome.kind === 'failed' ? outcome.reason : undefined);
          // Whatever happened is over: the next message is not touched by it.
          expect(await send(provider)).toMatchObject({ kind: 'accepted' });
        });
      }

      itMisbehaves('redirect', 'follows no redirect', async (reasons) => {
        const provider = await open();
        bench.misbehave('redirect');
        const outcome = await send(provider);
        expect(reasons).toContain(outcome.kind === 'failed' ? outcome.reason : undefined);
        // A provider with a login may ask for a token besides the one redirected request.
        expect(bench.requestCount()).toBeLessThanOrEqual(fixtures.requestsPerSend ?? 1);
      });

      it('says unavailable when nobody listens', async () => {
        const provider = await open();
        await bench.close();
        expect(await send(provider)).toMatchObject({ kind: 'failed', reason: 'unavailable' });
        bench = await fixtures.open();
      });

      it('says unavailable, and sends nothing, for an attempt that is over before it begins', async () => {
        const outcome = await send(await open(), AbortSignal.abort());
        expect(outcome).toMatchObject({ kind: 'failed', reason: 'unavailable' });
        expect(bench.requestCount()).toBe(0);
      });
    });

    describe('deadlines', () => {
      for (const what of ['stall', 'stall-in-body'] as const) {
        itMisbehaves(what, `ends promptly when aborted: ${what}`, async (reasons) => {
          const provider = await open();
          const attempt = new AbortController();
          bench.misbehave(what);
          const outcome = send(provider, attempt.signal);
          await bench.received(1);
          const abortedAt = performance.now();
          attempt.abort();
          const settled = await outcome;
          expect(performance.now() - abortedAt).toBeLessThan(PROMPT_MS);
          expect(reasons).toContain(settled.kind === 'failed' ? settled.reason : undefined);
          expect(await send(provider)).toMatchObject({ kind: 'accepted' });
        });
      }

      itMisbehaves('stall', 'keeps to the deadline of its signal', async () => {
        const provider = await open();
        bench.misbehave('stall');
        const startedAt = performance.now();
        const outcome = await send(provider, AbortSignal.timeout(200));
        expect(performance.now() - startedAt).toBeLessThan(200 + PROMPT_MS);
        expect(outcome).toMatchObject({ kind: 'failed' });
      });
    });

    describe('delivery reports', () => {
      const { reports } = fixtures;
      if (reports === 'none') {
        it('has none, and says so by having no reader', async () => {
          expect((await open()).parseReport).toBeUndefined();
        });
        return;
      }
      for (const { name: state, request, expected } of reports.states) {
        it(`reads ${state}`, async () => {
          const outcome = parse(await open(), request);
          expect(outcome).toMatchObject({ kind: 'reports', reports: expected });
          for (const report of outcome?.kind === 'reports' ? outcome.reports : []) {
            const hasFailed = report.state === 'failed' || report.state === 'undelivered';
            expect(report.reason !== undefined, 'a reason exactly where it failed').toBe(hasFailed);
          }
        });
      }

      it('refuses what is not a report', async () => {
        const provider = await open();
        for (const request of reports.malformed) {
          expect(parse(provider, request)).toEqual({ kind: 'refused', why: 'malformed' });
        }
      });

      if (reports.forged === 'unsigned') {
        it('has no signature to check: the secret in its address has to do', () =>
          expect(reports.forged).toBe('unsigned'));
        return;
      }
      for (const { name: forgery, request } of reports.forged) {
        it(`refuses a forgery: ${forgery}`, async () => {
          expect(parse(await open(), request)).toEqual({ kind: 'refused', why: 'forged' });
        });
      }
    });

    describe('probe', () => {
      if (!fixtures.hasProbe) {
        it('has none, and says so by having no method', async () => {
          expect((await open()).probe).toBeUndefined();
        });
        return;
      }
      async function probe(provider: MessagingProvider, signal = AbortSignal.timeout(10_000)) {
        const outcome = await provider.probe?.(signal);
        said.push(outcome);
        return outcome;
      }

      it('is ready with good credentials', async () => {
        expect(await probe(await open())).toMatchObject({ kind: 'ready' });
      });

      it('tells the operator what to do about wrong ones', async () => {
        const outcome = await probe(await open(fixtures.wrongSettings(bench.url)));
        expect(outcome).toMatchObject({
          kind: 'failed',
          reason: 'account',
          fix: expect.stringMatching(/[A-Z]+_[A-Z]/),
        });
      });

      it('tells the operator what to do when nobody answers', async () => {
        const provider = await open();
        await bench.close();
        const outcome = await probe(provider);
        expect(outcome).toMatchObject({ kind: 'failed', reason: 'unavailable', fix: expect.stringMatching(/\w/) });
        bench = await fixtures.open();
      });

      for (const what of ['garbage', 'html', 'empty', 'redirect'] as const) {
        itMisbehaves(what, `is not ready when something else answers: ${what}`, async () => {
          const provider = await open();
          bench.misbehave(what);
          expect(await probe(provider)).toMatchObject({ kind: 'failed', fix: expect.stringMatching(/\w/) });
        });
      }

      itMisbehaves('stall', 'ends promptly when aborted', async () => {
        const provider = await open();
        const attempt = new AbortController();
        bench.misbehave('stall');
        const outcome = probe(provider, attempt.signal);
        await bench.received(1);
        const abortedAt = performance.now();
        attempt.abort();
        expect(await outcome).toMatchObject({ kind: 'failed' });
        expect(performance.now() - abortedAt).toBeLessThan(PROMPT_MS);
      });
    });
  });
}

/** The values of those settings that the schema marks `secret`. */
function secretsOf<Settings extends TObject>(schema: Settings, settings: Static<Settings>): string[] {
  const values: Readonly<Record<string, unknown>> = { ...settings };
  return Object.entries(schema.properties).flatMap(([name, property]) => {
    const value = values[name];
    const isSecret = 'secret' in property && property.secret === true;
    return isSecret && typeof value === 'string' ? [value.trim()] : [];
  });
}

/** The forms in which a credential may slip out. */
function disguises(secret: string): string[] {
  return [secret, Buffer.from(secret).toString('base64'), encodeURIComponent(secret)];
}
