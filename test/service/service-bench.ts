import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Type from 'typebox';
import { afterEach } from 'vitest';
import type {
  ManagedCheck,
  ManagedCheckOutcome,
  ManagedProvider,
  ManagedStart,
  ReportOutcome,
} from '../../src/domain/provider.ts';
import {
  accepted,
  type Channel,
  type Countersign,
  createCountersign,
  type DeliveryReport,
  defineProvider,
  type FileConfig,
  type MessagingProvider,
  type OutgoingMessage,
  type Parts,
  type SendAnswer,
  type SendOutcome,
  type Started,
} from '../../src/index.ts';
import { defineManagedProvider } from '../../src/provider-kit/define-provider.ts';
import type { DeliveryAnswer } from '../../src/service/record-delivery.ts';
import type { MessageView } from '../../src/service/send-message.ts';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const NUMBER = '+998901234567';

type AppConfig = NonNullable<FileConfig['apps']>[string];
type Answer = (message: OutgoingMessage, signal: AbortSignal) => Promise<SendOutcome>;
type StartAnswer = (request: ManagedStart, signal: AbortSignal) => Promise<SendOutcome>;
type CheckAnswer = (request: ManagedCheck, signal: AbortSignal) => Promise<ManagedCheckOutcome>;

/** What a fake can do, and what the configuration says of it. */
export type FakeTraits = {
  readonly channels?: readonly [Channel, ...Channel[]];
  readonly countries?: readonly string[];
  readonly codesOnly?: true;
  readonly maxPerSecond?: number;
  readonly deadlineSeconds?: number;
  readonly reportTimeoutSeconds?: number;
};

/** What fakes of both kinds share: what they are, and the reports that they can be told to give. */
abstract class AnyFake {
  readonly id: string;
  readonly traits: FakeTraits;
  parseReport: MessagingProvider['parseReport'];
  fetchReport: MessagingProvider['fetchReport'];
  probe: MessagingProvider['probe'];
  close: MessagingProvider['close'];
  /** the listeners of its processes; empty unless `reportsByItself` */
  readonly listeners: ((report: DeliveryReport) => void)[] = [];
  reportsByItself = false;

  constructor(id: string, traits: FakeTraits = {}) {
    this.id = id;
    this.traits = traits;
  }

  abstract definition(): unknown;

  /** As in a configuration file. */
  entry(): Record<string, unknown> {
    const { maxPerSecond, deadlineSeconds, reportTimeoutSeconds } = this.traits;
    const common = { maxPerSecond, deadlineSeconds, reportTimeoutSeconds };
    const given = Object.entries(common).filter(([, value]) => value !== undefined);
    return { definition: this.definition(), ...Object.fromEntries(given) };
  }

  /** It sends reports; they are read from the body of the request. */
  withReports(): this {
    this.parseReport = ({ rawBody }) => JSON.parse(Buffer.from(rawBody).toString()) as ReportOutcome;
    return this;
  }

  protected common() {
    const { channels = ['sms', 'voice'], countries, codesOnly } = this.traits;
    return {
      id: this.id,
      channels,
      ...(countries === undefined ? {} : { countries }),
      ...(codesOnly === undefined ? {} : { codesOnly }),
      settings: Type.Object({}, { additionalProperties: false }),
      environment: {},
    };
  }

  protected anyFace() {
    const { parseReport, fetchReport, probe, close } = this;
    return {
      ...(parseReport === undefined ? {} : { parseReport }),
      ...(fetchReport === undefined ? {} : { fetchReport }),
      ...(probe === undefined ? {} : { probe }),
      ...(close === undefined ? {} : { close }),
      ...(this.reportsByItself
        ? { onReport: (listener: (report: DeliveryReport) => void) => void this.listeners.push(listener) }
        : {}),
    };
  }
}

/** A provider that keeps what it is handed, and answers as a test tells it. */
export class FakeProvider extends AnyFake {
  readonly received: OutgoingMessage[] = [];
  answer: Answer = async ({ messageId }) => accepted(`${this.id} ${messageId}`);

  get texts(): string[] {
    return this.received.map(({ text }) => text);
  }

  /** The codes it was handed, oldest first. */
  get codes(): string[] {
    return this.texts.map((text) => /\d{4,10}/.exec(text)?.[0] ?? '');
  }

  get lastCode(): string {
    return this.codes.at(-1) ?? '';
  }

  definition() {
    return defineProvider({
      ...this.common(),
      kind: 'messaging',
      create: (): MessagingProvider => ({
        send: (message, signal) => {
          this.received.push(message);
          return this.answer(message, signal);
        },
        ...this.anyFace(),
      }),
    });
  }
}

/** A provider that makes its codes itself: one for each verification, and it is used up by its approval. */
export class FakeManaged extends AnyFake {
  readonly received: ManagedStart[] = [];
  readonly asked: ManagedCheck[] = [];
  readonly live = new Map<string, string>();
  answer: StartAnswer = async (request) => accepted(this.makeCode(request));
  verdict: CheckAnswer = async ({ providerMessageId, code }) => this.compare(providerMessageId, code);
  #made = 0;

  get lastCode(): string {
    return [...this.live.values()].at(-1) ?? '';
  }

  makeCode({ previousId }: ManagedStart): string {
    if (previousId !== undefined && this.live.has(previousId)) return previousId;
    this.#made += 1;
    const id = `${this.id} ${this.#made}`;
    this.live.set(id, String(770_000 + this.#made));
    return id;
  }

  compare(providerMessageId: string, code: string): ManagedCheckOutcome {
    const right = this.live.get(providerMessageId);
    if (right === undefined) return { kind: 'gone' };
    if (right !== code) return { kind: 'wrong' };
    this.live.delete(providerMessageId);
    return { kind: 'approved' };
  }

  definition() {
    return defineManagedProvider({
      ...this.common(),
      kind: 'managed',
      create: (): ManagedProvider => ({
        start: (request, signal) => {
          this.received.push(request);
          return this.answer(request, signal);
        },
        check: (request, signal) => {
          this.asked.push(request);
          return this.verdict(request, signal);
        },
        ...this.anyFace(),
      }),
    });
  }
}

export class Clock {
  now = Date.UTC(2025, 10, 20, 12);

  advance(ms: number): void {
    this.now += ms;
  }
}

export type LogLine = { readonly level: string; readonly message: string } & Record<string, unknown>;

export type Bench = {
  readonly countersign: Countersign;
  readonly clock: Clock;
  /** the provider of the route, or the first of it */
  readonly fake: FakeProvider;
  readonly log: LogLine[];
  readonly dataDir: string;
  /** Another process on the same data, its app configured so: the one before is not closed, it may be dead. */
  again(changed?: AppConfig): Promise<Countersign>;
  /** One round of housekeeping, by a process that is opened for it and closed when it is through. */
  housekeep(): Promise<void>;
  /** The message that was asked for last. */
  lastMessage(): Promise<MessageView>;
};

export const noLimits = {
  perNumber: [{ max: 10_000, windowSeconds: 1 }],
  perAddress: [{ max: 10_000, windowSeconds: 1 }],
  perPrefix: [{ max: 10_000, windowSeconds: 1 }],
  perApp: [{ max: 10_000, windowSeconds: 1 }],
  messagesPerNumber: [{ max: 10_000, windowSeconds: 1 }],
};

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A service in production mode through the face of the library: a clock that tests move, and providers that record. */
export async function openBench(
  app: AppConfig = {},
  given: { config?: FileConfig; parts?: Parts; providers?: readonly (FakeProvider | FakeManaged)[] } = {},
): Promise<Bench> {
  const dataDir = mkdtempSync(join(tmpdir(), 'countersign-service-'));
  cleanUps.push(async () => rmSync(dataDir, { recursive: true, force: true }));
  const clock = new Clock();
  const log: LogLine[] = [];
  const write = (level: string) => (fields: object, message: string) => {
    log.push({ ...fields, level, message });
  };
  const providers = given.providers ?? [new FakeProvider('fake')];
  const configOf = (changed: AppConfig): FileConfig => ({
    mode: 'production',
    secret: 'b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204',
    dataDir,
    providers: Object.fromEntries(providers.map((provider) => [provider.id, provider.entry()])),
    apps: { default: { country: 'UZ', brand: 'Royal Taxi', ...app, ...changed } },
    ...given.config,
  });
  const parts: Parts = {
    now: () => clock.now,
    log: { info: write('info'), warn: write('warn'), error: write('error') },
    ...given.parts,
  };
  const open = async (changed: AppConfig = {}) => {
    const opened = await createCountersign(configOf(changed), parts);
    cleanUps.push(() => opened.close());
    return opened;
  };
  const countersign = await open();
  return {
    countersign,
    clock,
    fake: (providers.find((provider) => provider instanceof FakeProvider) ?? providers[0]) as FakeProvider,
    log,
    dataDir,
    again: open,
    async housekeep() {
      // It ends its first round before it closes.
      await (await open()).close();
    },
    async lastMessage() {
      const listed = await countersign.messages.list({ limit: 1 });
      const message = listed.kind === 'found' ? listed.messages[0] : undefined;
      if (message === undefined) throw new Error('there is no message');
      return message;
    },
  };
}

/** The provider's word on what it took, as its request would bring it. */
export function report(
  countersign: Countersign,
  { id }: FakeProvider | FakeManaged,
  ...reports: readonly DeliveryReport[]
): Promise<DeliveryAnswer> {
  const rawBody = Buffer.from(JSON.stringify({ kind: 'reports', reports } satisfies ReportOutcome));
  return countersign.providers.report(id, { method: 'POST', url: 'https://example.org/', headers: {}, rawBody });
}

/** What a route of these looks like to the person who configures it. */
export function routeOf(...providers: readonly { readonly id: string }[]): string[] {
  return providers.map(({ id }) => id);
}

/** @throws when it was refused */
export function expectStarted(answer: SendAnswer): Started {
  if (answer.kind !== 'started') throw new Error(`refused: ${answer.code}, ${answer.detail}`);
  return answer;
}

/** Another code of the same length. */
export function wrongCode(right: string): string {
  return `${right.slice(0, -1)}${(Number(right.at(-1)) + 1) % 10}`;
}

/** Waits until it is so, by turns of the event loop and no clock: also where a test has stopped the timers. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setImmediate(resolve));
}
