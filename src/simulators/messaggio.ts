import { randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SeenRequest, SimulatorDefinition } from './simulator-kit.ts';

const LOGIN = 'test-messaggio-login';
/** Known by the name that people see, as some senders are. */
const NAMED_SENDER = 'Саша Чурилов & Co';
const SENDERS: ReadonlyMap<string, string> = new Map([
  ['sms', 'test-sms-sender'],
  ['viber', 'test-viber-sender'],
]);

const problem = (status: number, title: string, detail: string): Answer => ({ status, body: { title, detail } });
const unauthorized = problem(401, 'Unauthorized', 'Unknown login');
/** A request that is fine, with a recipient who is not. */
const rejection = (detail: string, phone = '998901234567'): Answer => ({
  status: 200,
  body: {
    accepted_at: '2026-11-20T15:00:00Z',
    messages: [{ recipient: { phone }, error: { title: 'Message rejected', detail } }],
  },
});

/**
 * Answers like `msg.messaggio.com`. Written against public clients of https://messaggio.com/api-docs/ (read
 * 2026-11-20), not against our provider file. A message is reported from the last of its channels.
 */
export const messaggioSimulator: SimulatorDefinition = {
  id: 'messaggio',
  environment: (url) => ({
    MESSAGGIO_BASE_URL: url,
    MESSAGGIO_API_KEY: LOGIN,
    MESSAGGIO_FROM: SENDERS.get('sms') ?? '',
    MESSAGGIO_VIBER_FROM: SENDERS.get('viber') ?? '',
  }),
  start: (options) => {
    /** The last report of each message, for those who ask. */
    const states = new Map<string, unknown>();
    return startHttpSimulator(
      {
        delivery: [{ status: '100' }, { status: '70' }],
        refusals: {
          'bad-number': rejection('Invalid phone number'),
          'refuse-inside-2xx': rejection('Destination country is not allowed'),
          throttle: {
            ...problem(429, 'Too Many Requests', 'Request limit exceeded'),
            headers: { 'Retry-After': '2' },
          },
          credentials: unauthorized,
          balance: problem(402, 'Payment Required', 'Insufficient balance'),
          content: rejection('Sender is not activated'),
        },
        answer: (request, take) => {
          if (request.method !== 'POST') return problem(404, 'Not Found', 'Not Found');
          if (request.headers['messaggio-login'] !== LOGIN) return unauthorized;
          if (request.path === '/api/v1/statuses') return readStatuses(request, states);
          if (request.path !== '/api/v1/send') return problem(404, 'Not Found', 'Not Found');
          const body = request.json as SendBody | undefined;
          const channels = body?.channels ?? [];
          if (body === undefined || channels.length === 0)
            return problem(400, 'Bad Request', 'channels: cannot be blank');
          for (const channel of channels) {
            const part = body[channel] as { from?: unknown; label?: unknown } | undefined;
            if (part?.from !== SENDERS.get(channel) && part?.from !== NAMED_SENDER)
              return problem(422, 'Validation error', `${channel}: unknown sender`);
            if (channel === 'viber' && part?.label === undefined)
              return problem(422, 'Validation error', 'viber: label: cannot be blank');
          }
          const { options: { ttl, dlr_callback_url, external_id } = {} } = body;
          if (ttl !== undefined && !(Number.isInteger(ttl) && ttl > 0))
            return problem(422, 'Validation error', 'options: ttl: must be no less than 1');
          const messages = (body.recipients ?? []).map(({ phone = '' }) => {
            const recipient = { phone };
            if (!/^\d{8,15}$/.test(phone))
              return { recipient, error: { title: 'Message rejected', detail: 'Invalid phone number' } };
            const id = randomUUID();
            const channel = channels.at(-1) ?? '';
            const { content } = body[channel] as { content?: { text?: string }[] };
            const text = content?.[0]?.text ?? '';
            take({ id, to: `+${phone}`, text, reportUrl: dlr_callback_url, fields: { channel, external_id } });
            return { recipient, message_id: id };
          });
          return { status: 200, body: { accepted_at: '2026-11-20T15:00:00Z', messages } };
        },
        withoutId: ({ status }) => ({
          status,
          body: { accepted_at: '2026-11-20T15:00:00Z', messages: [{ recipient: { phone: '998901234567' } }] },
        }),
        report: ({ id, to, reportUrl, fields }, step) => {
          const status = { channel: fields['channel'], recipient: { phone: to.slice(1) }, status: Number(step.status) };
          states.set(id, { message_id: id, type: 'status', status });
          if (reportUrl === undefined) return undefined;
          return {
            url: reportUrl,
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({
              type: 'status',
              message_id: id,
              external_id: fields['external_id'],
              timestamp: '2026-11-20T15:00:03Z',
              ...status,
            }),
          };
        },
      },
      options,
    );
  },
};

type SendBody = {
  readonly recipients?: readonly { readonly phone?: string }[];
  readonly channels?: readonly string[];
  readonly options?: { readonly ttl?: number; readonly dlr_callback_url?: string; readonly external_id?: string };
  readonly [channel: string]: unknown;
};

function readStatuses({ json }: SeenRequest, states: ReadonlyMap<string, unknown>): Answer {
  const { recipients = [] } = (json ?? {}) as { recipients?: { id?: string }[] };
  const statuses = recipients.flatMap(({ id = '' }) => states.get(id) ?? []);
  return { status: 200, body: { statuses } };
}
