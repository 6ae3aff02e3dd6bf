import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import fastifyStatic from '@fastify/static';
// For its `schema.hide`.
import type {} from '@fastify/swagger';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { parsePhoneNumberFromString } from 'libphonenumber-js/max';
import { Type } from 'typebox';
import { channels } from '../../domain/provider.ts';
import type { Inbox, InboxEntry, InboxEvent } from '../../providers/inbox.ts';
import { isLoopback } from '../authenticate.ts';

/** What the page's empty state shows as the first thing to try. */
type InboxExample = {
  /** A number to send to, in E.164. */
  readonly to: string;
  /**
   * The address that starts a verification, as the service knows it (`http://127.0.0.1:8080/v1/verifications`).
   * The page shows its path at the host and port that the browser used; its host may read the inbox, too.
   */
  readonly url: string;
  /** A key that the call needs, if it needs one. */
  readonly apiKey?: string;
};

export type InboxRoutesOptions = {
  /** Where the pages were built to: holds `inbox.html` and `assets/`. */
  readonly pagesDirectory: string;
  /** Asked at each request: the port is known only once the server listens. */
  readonly example: () => InboxExample;
  /** Host names, without port, that may read the inbox besides this machine's own and the example's. */
  readonly allowedHosts?: readonly string[];
};

const heartbeatMs = 15_000;
const reconnectAfterMs = 1_000;

/**
 * No inline script or style at all: the pages' styles are files, and what React sets on an element goes through
 * the CSSOM, which a policy does not concern. Trusted types close the DOM's sinks for HTML as well.
 */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const Message = Type.Object({
  id: Type.String(),
  message_id: Type.String(),
  at: Type.String({ format: 'date-time' }),
  to: Type.String({ description: 'E.164' }),
  to_formatted: Type.String({ description: 'international form, for people' }),
  channel: Type.Enum([...channels]),
  locale: Type.String(),
  text: Type.String(),
  code: Type.Optional(Type.String({ description: 'the first run of 4 to 10 digits in the text' })),
});

const MessageList = Type.Object({
  messages: Type.Array(Message, { description: 'newest first' }),
  example: Type.Object({ to: Type.String(), url: Type.String(), api_key: Type.Optional(Type.String()) }),
});

/** The inbox page and what it reads. Codes are in the clear here: compose these routes in development mode only. */
export function inboxRoutes(inbox: Inbox, options: InboxRoutesOptions): FastifyPluginAsyncTypebox {
  return async (app) => {
    const streams = new Set<PassThrough>();
    let isClosing = false;

    app.addHook('onRequest', async (request, reply) => {
      reply.headers({
        'content-security-policy': contentSecurityPolicy,
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'same-origin',
        'cache-control': 'no-store',
      });
      if (!mayRead(request, options)) {
        // A name that an attacker lets point here makes their page "the same origin"; only the name gives it away.
        return reply
          .code(403)
          .type('text/plain; charset=utf-8')
          .send('The inbox shows codes, so it answers only under localhost or the configured public address.\n');
      }
    });

    // A stream that never ends by itself would hold up a graceful stop until its deadline.
    app.addHook('preClose', async () => {
      isClosing = true;
      for (const stream of streams) stream.end();
    });

    await app.register(fastifyStatic, {
      root: join(options.pagesDirectory, 'assets'),
      prefix: '/inbox/assets/',
      decorateReply: false,
      index: false,
      logLevel: 'warn',
      schemaHide: true,
      // The directory appears with the first build; a server that is up already then serves it.
      suppressWarning: true,
      cacheControl: false,
      // File names carry a digest of their content.
      setHeaders: (reply) => reply.header('cache-control', 'public, max-age=31536000, immutable'),
    });

    // Requests are logged from `warn` on: a filtered page has a full number in its address.
    const quiet = { logLevel: 'warn', schema: { hide: true } } as const;

    app.get('/inbox', quiet, async (_request, reply) => {
      reply.type('text/html; charset=utf-8');
      try {
        return await readFile(join(options.pagesDirectory, 'inbox.html'));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        return reply
          .code(503)
          .type('text/plain; charset=utf-8')
          .send('The inbox page is not built yet: `npm start` builds it.\n');
      }
    });

    // The page names its files relative to `/inbox`; one more `/` would make it look in `/inbox/inbox`.
    app.get('/inbox/', quiet, async (_request, reply) => reply.redirect('../inbox', 308));

    app.get(
      '/inbox/api/messages',
      {
        ...quiet,
        schema: {
          ...quiet.schema,
          querystring: Type.Object({
            number: Type.Optional(Type.String({ maxLength: 64, description: 'digits of the number, in any spelling' })),
          }),
          response: { 200: MessageList },
        },
      },
      async ({ query }) => {
        const { to, url, apiKey } = options.example();
        return {
          messages: inbox.list(query).map(messageBody),
          example: { to, url, ...(apiKey === undefined ? {} : { api_key: apiKey }) },
        };
      },
    );

    app.delete(
      '/inbox/api/messages',
      { ...quiet, schema: { ...quiet.schema, response: { 204: Type.Null() } } },
      async (_request, reply) => {
        inbox.clear();
        return reply.code(204).send(null);
      },
    );

    app.get(
      '/inbox/api/events',
      {
        ...quiet,
        // HEAD would wait for the end of a stream that has none.
        exposeHeadRoute: false,
        schema: {
          ...quiet.schema,
          headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ maxLength: 64 })) }),
        },
      },
      (request, reply) => {
        if (isClosing) return reply.code(503).header('retry-after', '1').send();
        const stream = new PassThrough();
        stream.write(`retry: ${reconnectAfterMs}\n\n`);
        const lastEventId = request.headers['last-event-id'];
        if (lastEventId) for (const event of inbox.eventsAfter(lastEventId)) stream.write(frame(event));

        const unsubscribe = inbox.subscribe((event) => stream.write(frame(event)));
        // Keeps proxies from taking a quiet connection for a dead one, and lets us notice a dead one.
        const heartbeat = setInterval(() => stream.write(': ping\n\n'), heartbeatMs);
        streams.add(stream);
        stream.once('close', () => {
          streams.delete(stream);
          clearInterval(heartbeat);
          unsubscribe();
        });
        return reply
          .headers({
            'content-type': 'text/event-stream; charset=utf-8',
            // nginx holds back a reply until a buffer is full, unless told so.
            'x-accel-buffering': 'no',
            // A kept-alive connection would outlive the stream, and the stop of the server would wait for it.
            connection: 'close',
          })
          .send(stream);
      },
    );
  };
}

/** Compares the header itself: what a proxy forwards (`X-Forwarded-Host`) a page in the browser can forge. */
function mayRead(request: FastifyRequest, { example, allowedHosts = [] }: InboxRoutesOptions): boolean {
  const asked = hostName(`http://${request.headers.host ?? ''}`);
  if (asked === undefined) return false;
  // Whoever says "localhost" from another machine lies; a server that listens to the network hears that, too.
  if (['localhost', '127.0.0.1', '[::1]'].includes(asked)) return isLoopback(request);
  return [hostName(example().url), ...allowedHosts].includes(asked);
}

function hostName(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}

function messageBody(entry: InboxEntry) {
  return {
    id: entry.id,
    message_id: entry.messageId,
    at: new Date(entry.at).toISOString(),
    to: entry.to,
    to_formatted: parsePhoneNumberFromString(entry.to)?.formatInternational() ?? entry.to,
    channel: entry.channel,
    locale: entry.locale,
    text: entry.text,
    ...(entry.code === undefined ? {} : { code: entry.code }),
  };
}

function frame(event: InboxEvent): string {
  return event.kind === 'arrived'
    ? `id: ${event.id}\nevent: message\ndata: ${JSON.stringify(messageBody(event.entry))}\n\n`
    : `id: ${event.id}\nevent: cleared\ndata: {}\n\n`;
}
