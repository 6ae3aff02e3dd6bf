import { randomInt, randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type {
  Answer,
  SeenRequest,
  SimulatedMessage,
  Simulator,
  SimulatorDefinition,
  SimulatorOptions,
} from './simulator-kit.ts';

const KEY = 'test-messaggio-otp-key';
/** Neither is published; these are what is usual. */
export const messaggioOtpRules = { codeLifeMs: 600_000, maxChecks: 5 };

/** One code that went out. */
type Verification = {
  readonly code: string;
  readonly expiresAt: number;
  checks: number;
  isVerified: boolean;
  reports: { channel: string; status: string }[];
};

const refusal = (status: number, title: string, detail: string): Answer => ({ status, body: { title, detail } });
const unauthorized = refusal(401, 'Unauthorized', 'Invalid API key');

/**
 * Answers like `otp.messaggio.com`. Written against what public clients of the API send and read, as the vendor publishes no
 * full text of it; not against our provider file.
 */
export const messaggioOtpSimulator: SimulatorDefinition = {
  id: 'messaggio-otp',
  environment: (url) => ({ MESSAGGIO_OTP_BASE_URL: url, MESSAGGIO_OTP_KEY: KEY }),
  start: (options) => startMessaggioOtp(options),
};

/** @param options with a clock for tests */
export function startMessaggioOtp(
  options: SimulatorOptions & { readonly now?: () => number } = {},
): Promise<Simulator> {
  const { now = Date.now } = options;
  const verifications = new Map<string, Verification>();
  const usedCodes = new Set<string>();

  return startHttpSimulator(
    {
      delivery: [{ status: 'SEND_SUCCESS' }],
      refusals: {
        'bad-number': refusal(400, 'Bad Request', 'Invalid phone number'),
        throttle: { ...refusal(429, 'Too Many Requests', 'Rate limit exceeded'), headers: { 'Retry-After': '2' } },
        credentials: unauthorized,
        balance: refusal(402, 'Payment Required', 'Insufficient balance'),
        content: refusal(400, 'Bad Request', 'Sender is not activated'),
      },
      answer(request, take) {
        if (request.headers.authorization !== `Bearer ${KEY}`) return unauthorized;
        if (request.method !== 'POST') return refusal(405, 'Method Not Allowed', '');
        const body = (request.json ?? {}) as Record<string, unknown>;
        if (request.path === '/api/v1/code') return send(body, request, take);
        if (request.path === '/api/v1/code/verify') return verify(body);
        if (request.path === '/api/v1/code/dlrs') return reports(body);
        return refusal(404, 'Not Found', 'No such method');
      },
      withoutId: ({ status }) => ({ status, body: {} }),
      // There is no webhook: the state is kept for whoever asks.
      report: ({ id, fields }, { status }) => {
        verifications.get(id)?.reports.push({ channel: String(fields['channel']), status });
        return undefined;
      },
    },
    options,
  );

  function send(
    body: Record<string, unknown>,
    { json }: SeenRequest,
    take: (message: SimulatedMessage) => void,
  ): Answer {
    const { to, channel, code: given } = body;
    if (typeof to !== 'string' || !/^\d{10,15}$/.test(to)) return refusal(400, 'Bad Request', 'Invalid phone number');
    if (channel !== 'sms' && channel !== 'telegram' && channel !== 'whatsapp')
      return refusal(400, 'Bad Request', 'Unknown channel');
    const code = typeof given === 'string' ? given : drawCode();
    const id = randomUUID();
    const expiresAt = now() + messaggioOtpRules.codeLifeMs;
    verifications.set(id, { code, expiresAt, checks: 0, isVerified: false, reports: [] });
    const fields = json as Record<string, unknown>;
    take({ id, to: `+${to}`, text: `Your code: ${code}`, reportUrl: undefined, fields });
    return { status: 202, body: { auth_id: id } };
  }

  /** None twice, so that a code of one verification is wrong for every other. */
  function drawCode(): string {
    const code = String(randomInt(1_000_000)).padStart(6, '0');
    if (usedCodes.has(code)) return drawCode();
    usedCodes.add(code);
    return code;
  }

  function verify({ auth_id, code }: Record<string, unknown>): Answer {
    const verification = verifications.get(String(auth_id));
    if (verification === undefined || verification.isVerified)
      return { status: 200, body: { status: 'CODE_NOT_FOUND' } };
    if (now() >= verification.expiresAt) return { status: 200, body: { status: 'CODE_EXPIRED' } };
    if (verification.checks >= messaggioOtpRules.maxChecks)
      return { status: 200, body: { status: 'CODE_ATTEMPTS_EXCEEDED' } };
    verification.checks += 1;
    verification.isVerified = verification.code === code;
    return { status: 200, body: { status: verification.isVerified ? 'CODE_VERIFIED' : 'CODE_INVALID' } };
  }

  function reports({ auth_ids }: Record<string, unknown>): Answer {
    const ids: readonly unknown[] = Array.isArray(auth_ids) ? auth_ids : [];
    const known = ids.filter((id): id is string => typeof id === 'string' && verifications.has(id));
    const codes = known.map((id) => ({ auth_id: id, delivery_reports: verifications.get(id)?.reports ?? [] }));
    return { status: 200, body: { codes } };
  }
}
