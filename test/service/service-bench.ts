import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Type from 'typebox';
import { afterEach } from 'vitest';
import {
  accepted,
  type Countersign,
  createCountersign,
  defineProvider,
  type FileConfig,
  type MessagingProvider,
  type OutgoingMessage,
  type Parts,
  type SendAnswer,
  type SendOutcome,
  type Started,
} from '../../src/index.ts';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const NUMBER = '+998901234567';

type AppConfig = NonNullable<FileConfig['apps']>[string];
type Answer = (message: OutgoingMessage, signal: AbortSignal) => Promise<SendOutcome>;

/** A provider that keeps what it is handed, and answers as a test tells it. */
export class FakeProvider {
  readonly received: OutgoingMessage[] = [];
  answer: Answer = async ({ messageId }) => accepted(`${this.id} ${messageId}`);
  parseReport: MessagingProvider['parseReport'];
  readonly id: string;

  constructor(id: string) {
    this.id = id;
  }

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
      id: this.id,
      kind: 'messaging',
      channels: ['sms', 'voice'],
      settings: Type.Object({}, { additionalProperties: false }),
      environment: {},
      create: (): MessagingProvider => ({
        send: (message, signal) => {
          this.received.push(message);
          return this.answer(message, signal);
        },
        ...(this.parseReport === undefined ? {} : { parseReport: this.parseReport }),
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
  /** Another process on the same data: the one before is not closed, it may be dead. */
  again(): Promise<Countersign>;
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
  given: { config?: FileConfig; parts?: Parts; providers?: readonly FakeProvider[] } = {},
): Promise<Bench> {
  const dataDir = mkdtempSync(join(tmpdir(), 'countersign-service-'));
  cleanUps.push(async () => rmSync(dataDir, { recursive: true, force: true }));
  const clock = new Clock();
  const log: LogLine[] = [];
  const write = (level: string) => (fields: object, message: string) => {
    log.push({ ...fields, level, message });
  };
  const providers = given.providers ?? [new FakeProvider('fake')];
  const config: FileConfig = {
    mode: 'production',
    secret: 'b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204',
    dataDir,
    providers: Object.fromEntries(providers.map((provider) => [provider.id, { definition: provider.definition() }])),
    apps: { default: { country: 'UZ', brand: 'Royal Taxi', ...app } },
    ...given.config,
  };
  const parts: Parts = {
    now: () => clock.now,
    log: { info: write('info'), warn: write('warn'), error: write('error') },
    ...given.parts,
  };
  const open = async () => {
    const opened = await createCountersign(config, parts);
    cleanUps.push(() => opened.close());
    return opened;
  };
  return { countersign: await open(), clock, fake: providers[0] as FakeProvider, log, dataDir, again: open };
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
