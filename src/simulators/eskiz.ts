import { randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SeenRequest, SimulatorDefinition } from './simulator-kit.ts';

const EMAIL = 'test@example.com';
const PASSWORD = 'test-eskiz-secret';
const TOKEN = 'test.eskiz.token';

const refusal = (status: number, message: unknown): Answer => ({ status, body: { status: 'error', message } });
const unauthorized = refusal(401, 'Unauthorized');

/** Answers like `notify.eskiz.uz`. Written against what public clients have from the vendor's API collection, not against our provider file. */
export const eskizSimulator: SimulatorDefinition = {
  id: 'eskiz',
  environment: (url) => ({ ESKIZ_BASE_URL: url, ESKIZ_EMAIL: EMAIL, ESKIZ_PASSWORD: PASSWORD }),
  start: (options) =>
    startHttpSimulator(
      {
        loginPath: '/api/auth/login',
        delivery: [{ status: 'ACCEPTED' }, { status: 'DELIVERED' }],
        refusals: {
          'bad-number': refusal(400, { mobile_phone: ['Неверный формат номера.'] }),
          'refuse-inside-2xx': refusal(200, 'Ваш аккаунт: недостаточно средств'),
          throttle: { status: 429, body: { message: 'Too Many Attempts.' }, headers: { 'Retry-After': '2' } },
          credentials: unauthorized,
          balance: refusal(400, 'Недостаточно средств на балансе'),
          content: refusal(400, 'Этот смс-текст ещё не прошёл модерацию.'),
        },
        answer: (request, take) => {
          if (request.path === '/api/auth/login') return logIn(request);
          if (request.headers.authorization !== `Bearer ${TOKEN}`) return unauthorized;
          if (request.path === '/api/user/get-limit')
            return { status: 200, body: { data: { balance: 100_000 }, status: 'success' } };
          const isSend = /^\/api\/message\/sms\/send(-global)?$/.test(request.path);
          if (request.method !== 'POST' || !isSend) return refusal(404, 'Not Found');
          const { mobile_phone = '', message = '', callback_url, from } = request.form;
          if (!/^\d{10,15}$/.test(mobile_phone)) return refusal(400, { mobile_phone: ['Неверный формат номера.'] });
          const isAbroad = request.path.endsWith('-global');
          if (isAbroad && !/^[A-Z]{2}$/.test(request.form['country_code'] ?? ''))
            return refusal(400, { country_code: ['Поле country_code обязательно.'] });
          if (message === '') return refusal(400, { message: ['Поле message обязательно.'] });
          const id = randomUUID();
          take({ id, to: `+${mobile_phone}`, text: message, reportUrl: callback_url, fields: { from } });
          return { status: 200, body: { id, message: 'Waiting for SMS provider', status: 'waiting' } };
        },
        withoutId: ({ status }) => ({ status, body: { message: 'Waiting for SMS provider', status: 'waiting' } }),
        report: ({ id, to, reportUrl }, { status }) =>
          reportUrl === undefined
            ? undefined
            : {
                url: reportUrl,
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({
                  request_id: id,
                  message_id: 4_385_062,
                  user_sms_id: '1',
                  country: 'UZ',
                  phone_number: to.slice(1),
                  sms_count: '1',
                  status,
                  status_date: '2026-11-20 15:00:03',
                }),
              },
      },
      options,
    ),
};

function logIn({ form, json }: SeenRequest): Answer {
  const { email, password } = json === undefined ? form : (json as Record<string, string>);
  if (email !== EMAIL || password !== PASSWORD) return refusal(401, 'Неверный Email или пароль');
  return { status: 200, body: { message: 'token_generated', data: { token: TOKEN }, token_type: 'bearer' } };
}
