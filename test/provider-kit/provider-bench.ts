import { inspect } from 'node:util';
import type { Static, TObject } from 'typebox';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type {
  DeliveryReport,
  FailureReason,
  ManagedProvider,
  MessagingProvider,
  ReportRequest,
} from '../../src/domain/provider.ts';
import type { ProviderContext, ProviderDefinition } from '../../src/provider-kit/define-provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import type { FaultName, Simulator } from '../../src/simulators/simulator-kit.ts';

// What holds for messaging and managed providers alike: settings, delivery reports, probe, and that nothing leaks.

/** What may go wrong on the other side; every simulator can do each of these, or its fixtures say why the provider cannot. */
export type Misbehaviour = FaultName;

/** Which reasons the suites accept for each; fixtures may narrow or replace them. */
const expectedReasons: Readonly<Record<Misbehaviour, readonly FailureReason[]>> = {
  'bad-number': ['recipient'],
  'refuse-inside-2xx': ['recipient', 'blocked', 'content', 'coverage', 'account', 'throttled', 'unavailable'],
  throttle: ['throttled'],
  credentials: ['account'],
  balance: ['account'],
  content: ['content'],
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

/** What the fixtures of both kinds have. */
export type AnyFixtures<Settings extends TObject, Bench extends ProviderBench = ProviderBench> = {
  readonly definition: ProviderDefinition<Settings>;
  open(): Promise<Bench>;
  /** Settings that the simulator accepts. Whatever the schema marks `secret` is looked for in every outcome. */
  settings(url: string): Static<Settings>;
  /** The same with credentials that it refuses. */
  wrongSettings(url: string): Static<Settings>;
  /** More strings that must not show up anywhere, e.g. a header made of the credentials. */
  readonly secrets?: readonly string[];
  /** Misbehaviours that this provider cannot show, each with the reason: it becomes the name of a test. */
  readonly cannot?: Partial<Record<Misbehaviour, string>>;
  /** Where this provider's reasons differ from the usual ones. */
  readonly reasons?: Partial<Record<Misbehaviour, readonly FailureReason[]>>;
  readonly reports: ReportFixtures | 'none';
  /** Whether there is a `probe`. */
  readonly hasProbe: boolean;
};

/** No outcome may repeat these. */
export const CODE = '830417';
export const TO = '+998901234567';
/** A promise that takes longer than this after an abort did not end promptly. */
export const PROMPT_MS = 1000;

/** A simulator behind the face that the suites know. */
export function benchOf(simulator: Simulator): ProviderBench {
  let isClosed = false;
  return {
    url: simulator.url,
    requestCount: () => simulator.requests.length,
    received: (count) => simulator.received(count),
    misbehave: (what) => simulator.behave(what),
    close: async () => {
      if (!isClosed) await simulator.close();
      isClosed = true;
    },
  };
}

/** One test's simulator, and what was said in it. */
type Stage<Settings extends TObject, Provider, Bench> = {
  readonly bench: () => Bench;
  readonly open: (settings?: Static<Settings>) => Promise<Provider>;
  /** Nobody listens at the settings' address any more. */
  readonly closeBench: () => Promise<void>;
  /** Whatever the provider says is searched for secrets at the end of the test. */
  readonly hear: <Said>(said: Said) => Said;
  /** One more secret of this test. */
  readonly keepSecret: (secret: string) => void;
  /** A test of one misbehaviour, or one that states why there is none. */
  readonly itMisbehaves: (
    what: Misbehaviour,
    sentence: string,
    run: (reasons: readonly FailureReason[]) => Promise<void>,
  ) => void;
};

/** Opens and closes the simulator around each test, and looks for secrets in all that was said in between. */
export function setStage<
  Settings extends TObject,
  Provider extends MessagingProvider | ManagedProvider,
  Bench extends ProviderBench,
>(
  fixtures: AnyFixtures<Settings, Bench>,
  create: (settings: Static<Settings>, context: ProviderContext) => Provider | Promise<Provider>,
): Stage<Settings, Provider, Bench> {
  const { definition } = fixtures;
  let bench: Bench;
  let isBenchOpen: boolean;
  let http: HttpClient;
  let opened: Provider[];
  let said: unknown[];
  let printed: string[];
  let kept: string[];

  beforeEach(async () => {
    [opened, said, printed, kept] = [[], [], [], [CODE, TO, TO.slice(1)]];
    for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
      vi.spyOn(console, method).mockImplementation((...values) => void printed.push(inspect(values)));
    }
    bench = await fixtures.open();
    isBenchOpen = true;
    http = createHttpClient(Date.now);
  });

  async function closeBench(): Promise<void> {
    if (isBenchOpen) await bench.close();
    isBenchOpen = false;
  }

  afterEach(async () => {
    vi.restoreAllMocks();
    for (const provider of opened) await provider.close?.();
    http.close();
    await closeBench();
    const settings = [fixtures.settings(bench.url), fixtures.wrongSettings(bench.url)];
    const secrets = [...settings.flatMap((each) => secretsOf(definition.settings, each)), ...(fixtures.secrets ?? [])];
    const words = said.flatMap((value) => [
      JSON.stringify(value) ?? '',
      inspect(value, { depth: null, showHidden: true }),
    ]);
    for (const word of [...words, ...printed]) {
      for (const secret of [...secrets.flatMap(disguises), ...kept]) expect(word).not.toContain(secret);
    }
  });

  return {
    bench: () => bench,
    async open(settings = fixtures.settings(bench.url)) {
      const provider = await create(settings, { now: Date.now, http });
      opened.push(provider);
      return provider;
    },
    closeBench,
    hear(value) {
      said.push(value);
      return value;
    },
    keepSecret: (secret) => void kept.push(secret),
    itMisbehaves(what, sentence, run) {
      const why = fixtures.cannot?.[what];
      if (why === undefined) it(sentence, () => run(fixtures.reasons?.[what] ?? expectedReasons[what]));
      else it(`has no ${what}: ${why}`, () => expect(fixtures.cannot).toHaveProperty(what));
    },
  };
}

type AnyStage<Settings extends TObject> = Stage<Settings, MessagingProvider | ManagedProvider, ProviderBench>;

export function describeSettings<Settings extends TObject>(
  { definition, settings }: AnyFixtures<Settings>,
  { bench }: Pick<AnyStage<Settings>, 'bench'>,
): void {
  describe('settings', () => {
    it('finds no fault in good ones', () => {
      expect(definition.faults?.(settings(bench().url)) ?? []).toEqual([]);
    });

    it('fills only settings that the schema knows, and takes no others', () => {
      const known: readonly string[] = Object.keys(definition.settings.properties);
      expect(Object.values<string>(definition.environment).filter((name) => !known.includes(name))).toEqual([]);
      expect(definition.settings).toMatchObject({ additionalProperties: false });
    });

    it('marks a credential as secret', () => {
      expect(secretsOf(definition.settings, settings(bench().url))).not.toEqual([]);
    });

    it('can be pointed at another address through the environment', () => {
      const prefix = definition.id.toUpperCase().replaceAll('-', '_');
      // Whoever has no variables at all is described in the file, its address too.
      if (Object.keys(definition.environment).length > 0)
        expect(definition.environment).toHaveProperty(`${prefix}_BASE_URL`);
      else expect(definition.settings.properties).not.toHaveProperty('baseUrl');
    });
  });
}

export function describeReports<Settings extends TObject>(
  reports: ReportFixtures | 'none',
  { open, hear }: Pick<AnyStage<Settings>, 'open' | 'hear'>,
): void {
  describe('delivery reports', () => {
    if (reports === 'none') {
      it('has none, and says so by having no reader', async () => {
        expect((await open()).parseReport).toBeUndefined();
      });
      return;
    }
    // A delivery report may name what it was sent; only what we make of it is searched.
    const parse = async (request: ReportRequest) => hear((await open()).parseReport?.(request));

    for (const { name: state, request, expected } of reports.states) {
      it(`reads ${state}`, async () => {
        const outcome = await parse(request);
        expect(outcome).toMatchObject({ kind: 'reports', reports: expected });
        for (const report of outcome?.kind === 'reports' ? outcome.reports : []) {
          const hasFailed = report.state === 'failed' || report.state === 'undelivered';
          expect(report.reason !== undefined, 'a reason exactly where it failed').toBe(hasFailed);
        }
      });
    }

    it('refuses what is not a report', async () => {
      for (const request of reports.malformed) {
        expect(await parse(request)).toEqual({ kind: 'refused', why: 'malformed' });
      }
    });

    if (reports.forged === 'unsigned') {
      it('has no signature to check: the secret in its address has to do', () =>
        expect(reports.forged).toBe('unsigned'));
      return;
    }
    for (const { name: forgery, request } of reports.forged) {
      it(`refuses a forgery: ${forgery}`, async () => {
        expect(await parse(request)).toEqual({ kind: 'refused', why: 'forged' });
      });
    }
  });
}

/** @param requests how many one call makes when all goes well */
export function describeProbe<Settings extends TObject>(
  { hasProbe, wrongSettings }: AnyFixtures<Settings>,
  { bench, open, closeBench, hear, itMisbehaves }: AnyStage<Settings>,
  requests = 1,
): void {
  describe('probe', () => {
    if (!hasProbe) {
      it('has none, and says so by having no method', async () => {
        expect((await open()).probe).toBeUndefined();
      });
      return;
    }
    const probe = async (provider: MessagingProvider | ManagedProvider, signal = AbortSignal.timeout(10_000)) =>
      hear(await provider.probe?.(signal));

    it('is ready with good credentials', async () => {
      expect(await probe(await open())).toMatchObject({ kind: 'ready' });
    });

    it('tells the operator what to do about wrong ones', async () => {
      const outcome = await probe(await open(wrongSettings(bench().url)));
      expect(outcome).toMatchObject({ kind: 'failed', reason: 'account', fix: expect.stringMatching(/[A-Z]+_[A-Z]/) });
    });

    it('tells the operator what to do when nobody answers', async () => {
      const provider = await open();
      await closeBench();
      const outcome = await probe(provider);
      expect(outcome).toMatchObject({ kind: 'failed', reason: 'unavailable', fix: expect.stringMatching(/\w/) });
    });

    for (const what of ['garbage', 'html', 'empty', 'redirect'] as const) {
      itMisbehaves(what, `is not ready when something else answers: ${what}`, async () => {
        const provider = await open();
        bench().misbehave(what);
        expect(await probe(provider)).toMatchObject({ kind: 'failed', fix: expect.stringMatching(/\w/) });
      });
    }

    itMisbehaves('stall', 'ends promptly when aborted', async () => {
      const provider = await open();
      const attempt = new AbortController();
      bench().misbehave('stall');
      const outcome = probe(provider, attempt.signal);
      await bench().received(requests);
      const abortedAt = performance.now();
      attempt.abort();
      expect(await outcome).toMatchObject({ kind: 'failed' });
      expect(performance.now() - abortedAt).toBeLessThan(PROMPT_MS);
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
