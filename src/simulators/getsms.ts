import { randomInt } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SeenRequest, SimulatorDefinition } from './simulator-kit.ts';

const LOGIN = 'test-getsms';
const PASSWORD = 'test-getsms-password';

/** Refusals come with HTTP 200. */
const refusal = (number: number, text: string): Answer => ({
  status: 200,
  body: [{ error: 1, error_text: text, error_no: number }],
});

/**
 * Answers like GetSMS's gateway. Written against what public clients have from https://getsms.uz/page/index/16 (read
 * 2026-11-20), not against our provider file. It posts no reports: the steps of a `delivery` become the answers of the status call.
 */
export const getsmsSimulator: SimulatorDefinition = {
  id: 'getsms',
  environment: (url) => ({ GETSMS_BASE_URL: url, GETSMS_LOGIN: LOGIN, GETSMS_PASSWORD: PASSWORD }),
  start: (options) => {
    /** What became of each message, by its request id. */
    const states = new Map<string, string>();
    return startHttpSimulator(
      {
        delivery: [{ status: 'transmitted' }, { status: 'delivered' }],
        refusals: {
          'bad-number': refusal(300, 'Incorrect phone number'),
          'refuse-inside-2xx': refusal(102, 'User is blocked'),
          credentials: refusal(101, 'Incorrect login or password'),
          balance: refusal(103, 'Limit is over'),
          content: refusal(202, 'Incorrect nickname'),
        },
        answer: (request, take) => {
          const isStatus = request.path === '/status/';
          if (request.method !== 'POST' || (request.path !== '/' && !isStatus))
            return { status: 404, body: 'Not Found' };
          const { login, password } = request.form;
          if (login !== LOGIN) return refusal(100, 'Incorrect login');
          if (password !== PASSWORD) return refusal(101, 'Incorrect login or password');
          const items = readItems(request);
          if (items === undefined) return refusal(200, 'Incorrect data');
          const date = '2026-11-20 15:00:03';
          if (isStatus) {
            const body = items.map(({ request_id }) => {
              const status = states.get(String(request_id));
              return status === undefined
                ? { error: 1, error_text: 'Unknown request_id', error_no: 400 }
                : { request_id, status, date_sent: date, date_delivered: date, count_messages: 1, description: 'OK' };
            });
            return { status: 200, body };
          }
          const body = items.map(({ phone, text }) => {
            if (!/^998\d{9}$/.test(String(phone)))
              return { error: 1, error_text: 'Incorrect phone number', error_no: 300 };
            const requestId = randomInt(10_000_000, 99_999_999);
            const id = String(requestId);
            take({ id, to: `+${phone}`, text: String(text), reportUrl: undefined, fields: {} });
            return {
              recipient: Number(phone),
              text,
              user_id: 263,
              date_received: 1_795_186_803,
              message_id: randomInt(10_000_000, 99_999_999),
              request_id: requestId,
              client_ip: '127.0.0.1',
            };
          });
          return { status: 200, body };
        },
        withoutId: ({ status }) => ({ status, body: [{ recipient: 998_901_234_567, user_id: 263 }] }),
        report: ({ id }, { status }) => {
          states.set(id, status);
          return undefined;
        },
      },
      options,
    );
  },
};

function readItems({ form }: SeenRequest): readonly Record<string, unknown>[] | undefined {
  try {
    const items = JSON.parse(form['data'] ?? '') as unknown;
    return Array.isArray(items) && items.length > 0 ? (items as Record<string, unknown>[]) : undefined;
  } catch {
    return undefined;
  }
}
