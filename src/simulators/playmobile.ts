import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SeenRequest, SimulatorDefinition } from './simulator-kit.ts';

const LOGIN = 'test-playmobile';
const PASSWORD = 'test-playmobile-password';

const refusal = (code: number, description: string): Answer => ({
  status: 400,
  body: { 'error-code': code, 'error-description': description },
});
const unauthorized: Answer = { status: 401, body: 'Unauthorized' };

/**
 * Answers like `send.smsxabar.uz`. Written against what public clients have from the manual of the broker,
 * https://playmobile.uz/storage/2022/08/http.pdf (read 2026-11-20), not against our provider file. Reports go to `reportUrl` of the options: the vendor learns the
 * address from its support.
 */
export const playmobileSimulator: SimulatorDefinition = {
  id: 'playmobile',
  environment: (url) => ({ PLAYMOBILE_BASE_URL: url, PLAYMOBILE_LOGIN: LOGIN, PLAYMOBILE_PASSWORD: PASSWORD }),
  start: (options) =>
    startHttpSimulator(
      {
        delivery: [{ status: 'Transmitted' }, { status: 'Delivered' }],
        refusals: {
          'bad-number': refusal(202, 'Empty recipient'),
          throttle: { status: 429, body: 'Too Many Requests', headers: { 'Retry-After': '2' } },
          credentials: unauthorized,
          balance: refusal(102, 'Account lock'),
          content: refusal(406, 'Invalid content'),
        },
        answer: (request, take) => {
          if (request.method !== 'POST' || request.path !== '/broker-api/send')
            return { status: 404, body: 'Not Found' };
          const login = Buffer.from(`${LOGIN}:${PASSWORD}`).toString('base64');
          if (request.headers.authorization !== `Basic ${login}`) return unauthorized;
          const read = readMessages(request);
          if ('refusal' in read) return read.refusal;
          for (const { id, recipient, text } of read.messages)
            take({ id, to: `+${recipient}`, text, reportUrl: undefined, fields: {} });
          return { status: 200, body: 'Request is received' };
        },
        // Its good answer has none.
        withoutId: (answer) => answer,
        report: ({ id, reportUrl }, { status }) =>
          reportUrl === undefined
            ? undefined
            : {
                url: reportUrl,
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({
                  'message-id': id,
                  channel: 'sms',
                  status,
                  'status-date': '2026-11-20 15:00:03',
                  description: status,
                }),
              },
      },
      options,
    ),
};

type BrokerSms = { originator?: unknown; ttl?: unknown; content?: { text?: unknown } };
type BrokerMessage = { recipient?: unknown; 'message-id'?: unknown; sms?: BrokerSms };
type Read =
  | { readonly refusal: Answer }
  | { readonly messages: readonly { readonly id: string; readonly recipient: string; readonly text: string }[] };

function readMessages({ json }: SeenRequest): Read {
  const body = json as { priority?: unknown; sms?: BrokerSms; messages?: BrokerMessage[] } | undefined;
  if (body === undefined || !Array.isArray(body.messages)) return { refusal: refusal(101, 'Syntax error') };
  if ('priority' in body && !['low', 'normal', 'high', 'realtime'].includes(String(body.priority)))
    return { refusal: refusal(104, 'Invalid priority') };
  if (body.messages.length === 0) return { refusal: refusal(202, 'Empty recipient') };
  const messages = [];
  for (const { recipient, 'message-id': id, sms = body.sms } of body.messages) {
    if (typeof recipient !== 'string' || !/^998\d{9}$/.test(recipient))
      return { refusal: refusal(202, 'Empty recipient') };
    if (typeof id !== 'string' || id === '') return { refusal: refusal(205, 'Empty message-id') };
    if (sms === undefined) return { refusal: refusal(103, 'Empty channel') };
    const { originator, ttl, content } = sms;
    if (typeof originator !== 'string' || originator === '' || originator.length > 11)
      return { refusal: refusal(401, 'Empty originator') };
    if ('ttl' in sms && !(Number(ttl) > 0)) return { refusal: refusal(407, 'Invalid ttl') };
    const text = content?.text;
    if (typeof text !== 'string' || text === '') return { refusal: refusal(404, 'Empty content') };
    messages.push({ id, recipient, text });
  }
  return { messages };
}
