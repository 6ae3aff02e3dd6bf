import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import Type, { type TObject } from 'typebox';
import { expect } from 'vitest';
import { type Composed, compose, type Parts } from '../../src/compose.ts';
import type { Environment } from '../../src/config/config.ts';
import { type FileConfig, resolveConfig } from '../../src/config/load.ts';
import type { OutgoingMessage, ReportRequest, SendOutcome } from '../../src/domain/provider.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import { addressOf, buildServer, type ServerOptions } from '../../src/http/server.ts';
import { accepted, defineProvider, type ProviderDefinition } from '../../src/provider-kit/define-provider.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import { type HttpClient, httpClient } from './http-client.ts';

export const SECRET = '7f1c0d9a5be2438896adc4e1f02b7753aa90';
export const docsDirectory = fileURLToPath(new URL('../../docs', import.meta.url));
const pagesDirectory = fileURLToPath(new URL('../../web/dist', import.meta.url));

/** A provider whose messages a test reads, as a phone would; with reports that carry a shared word as signature. */
export type Phone = {
  readonly definition: ProviderDefinition<TObject>;
  readonly sent: OutgoingMessage[];
  /** what the next messages come to; later ones are accepted */
  behave(...outcomes: readonly ((message: OutgoingMessage) => Promise<SendOutcome> | SendOutcome)[]): void;
};

export function createPhone(id = 'phone'): Phone {
  const sent: OutgoingMessage[] = [];
  const behaviours: ((message: OutgoingMessage) => Promise<SendOutcome> | SendOutcome)[] = [];
  const definition = defineProvider({
    id,
    kind: 'messaging',
    channels: ['sms', 'voice'],
    settings: Type.Object({}, { additionalProperties: false }),
    environment: {},
    create: () => ({
      async send(message) {
        sent.push(message);
        return (await behaviours.shift()?.(message)) ?? accepted(`${id}-${message.messageId}`);
      },
      parseReport: ({ method, url, headers, rawBody }: ReportRequest) => {
        if (headers['x-signature'] !== 'good') return { kind: 'refused', why: 'forged' };
        const query = new URL(url).searchParams;
        const challenge = query.get('challenge');
        if (method === 'GET' && challenge !== null) return { kind: 'handshake', answer: challenge };
        const text = method === 'GET' ? (query.get('report') ?? '') : Buffer.from(rawBody).toString();
        try {
          return { kind: 'reports', reports: [JSON.parse(text)].flat() };
        } catch {
          return { kind: 'refused', why: 'malformed' };
        }
      },
    }),
  });
  return {
    definition: definition as unknown as ProviderDefinition<TObject>,
    sent,
    behave: (...outcomes) => void behaviours.push(...outcomes),
  };
}

export type RunningServer = {
  readonly origin: string;
  readonly call: HttpClient;
  readonly composed: Composed;
  readonly server: FastifyInstance;
  readonly phone: Phone;
  readonly dataDir: string;
  /** every line that was logged, as JSON */
  readonly logged: string[];
  /** moved by tests; requests see it as the time */
  readonly clock: { now: number };
  /** API key of an app, made on demand */
  keyOf(app?: string): Promise<string>;
  /** The newest code that was sent to a number. */
  codeFor(number: string): string;
  /** Starts a verification. @returns its id and its code */
  start(to: string, more?: object): Promise<{ readonly id: string; readonly code: string }>;
  close(): Promise<void>;
};

type Setup = {
  readonly file?: FileConfig;
  readonly environment?: Environment;
  readonly parts?: Parts;
  readonly options?: Partial<ServerOptions>;
  /** a free one unless told otherwise */
  readonly port?: number;
};

/** The whole service on a free port, with a clock of its own that starts at the real time. */
export async function startServer(setup: Setup = {}): Promise<RunningServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'countersign-http-'));
  const phone = createPhone();
  const isProduction = setup.file?.mode === 'production';
  const file = {
    dataDir,
    ...(isProduction ? { secret: SECRET } : {}),
    providers: { phone: phone.definition },
    ...setup.file,
  };
  const config = resolveConfig(file, setup.environment ?? {}, providerDefinitions, dataDir);
  const clock = { now: Date.now() };
  const logged: string[] = [];
  const note = (level: string) => (fields: object, message: string) =>
    void logged.push(JSON.stringify({ level, msg: message, ...fields }));
  const log = { info: note('info'), warn: note('warn'), error: note('error') };
  const composed = await compose(config, { log, now: () => clock.now, ...setup.parts });
  const server = await buildServer(composed, {
    log,
    metrics: createMetrics(),
    pagesDirectory,
    docsDirectory,
    ...setup.options,
  });
  await server.listen({ host: '127.0.0.1', port: setup.port ?? 0 });
  const origin = addressOf(server, '127.0.0.1');
  const call = httpClient(origin);
  const keys = new Map<string, string>();

  const codeFor = (number: string) => {
    const text =
      phone.sent.findLast(({ to }) => to === number)?.text ??
      composed.inbox?.list().find(({ to }) => to === number)?.text;
    const code = /(?<!\d)\d{6}(?!\d)/.exec(text ?? '')?.[0];
    if (code === undefined) throw new Error(`no code was sent to ${number}`);
    return code;
  };
  const keyOf = async (app = 'default') => {
    const key = keys.get(app) ?? (await composed.countersign.keys.create({ app, name: 'test' })).key;
    keys.set(app, key);
    return key;
  };
  return {
    origin,
    call,
    composed,
    server,
    phone,
    dataDir,
    logged,
    clock,
    keyOf,
    codeFor,
    async start(to, more = {}) {
      const answer = await call('POST', '/v1/verifications', {
        body: { to, ...more },
        ...(isProduction ? { key: await keyOf() } : {}),
      });
      expect(answer, answer.text).toMatchObject({ status: 201 });
      return { id: String(answer.json['id']), code: codeFor(String(answer.json['to'])) };
    },
    async close() {
      call.close();
      await server.close();
      await composed.countersign.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** A code that is surely not that one. */
export function wrong(code: string, by = 1): string {
  return String((Number(code) + by) % 10 ** code.length).padStart(code.length, '0');
}

/** Limits so wide that a test of something else never meets them. */
export const wideLimits = {
  perNumber: [{ max: 100_000, windowSeconds: 60 }],
  perAddress: [{ max: 100_000, windowSeconds: 60 }],
  perPrefix: [{ max: 100_000, windowSeconds: 60 }],
  perApp: [{ max: 1_000_000, windowSeconds: 60 }],
};
