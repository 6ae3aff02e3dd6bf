import { randomBytes, randomInt } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type {
  Answer,
  SeenRequest,
  SimulatedMessage,
  Simulator,
  SimulatorDefinition,
  SimulatorOptions,
} from './simulator-kit.ts';
import { twilioError } from './twilio.ts';

const testSid = (prefix: string) => prefix + '0'.repeat(32);
const newSid = (prefix: string) => prefix + randomBytes(16).toString('hex');
const ACCOUNT_SID = testSid('AC');
const SERVICE_SID = testSid('VA');
const AUTH_TOKEN = 'test-auth-token';
const API_KEY = `${testSid('SK')}:test-api-secret`;
const SERVICE_NAME = 'Simulated service';
const CODE_LENGTH = 6;

/** Source: https://www.twilio.com/docs/verify/api/rate-limits-and-timeouts and the pages of 60202 and 60203 (read 2026-11-20). */
export const twilioVerifyRules = { codeLifeMs: 600_000, maxChecks: 5, maxSends: 5 };

const channels: readonly string[] = ['sms', 'call', 'email', 'whatsapp'];
/** Languages of the default template. Source: https://www.twilio.com/docs/verify/supported-languages (read 2026-11-20). */
const locales = new Set(
  'af ar ca zh zh-CN zh-HK hr cs da nl en en-GB et fi fr de el he hi hu id it ja kn ko lt ms mr nb pl pt pt-BR ro ru sk es sv tl te th tr uk vi'.split(
    ' ',
  ),
);

type Status = 'pending' | 'approved' | 'canceled' | 'max_attempts_reached';
/** One send. */
type Attempt = {
  readonly sid: string;
  readonly at: number;
  readonly channel: string;
  locale: string;
  messageStatus: string;
  errorCode: string | number | null;
};
type Verification = {
  readonly sid: string;
  readonly to: string;
  readonly code: string;
  readonly createdAt: number;
  channel: string;
  status: Status;
  updatedAt: number;
  checks: number;
  readonly attempts: Attempt[];
};

const invalid = (parameter: string, value = '') =>
  twilioError(400, 60200, { message: `Invalid parameter \`${parameter}\`: ${value}` });
const unauthorized: Answer = {
  ...twilioError(401, 20003, { message: 'Authenticate' }),
  headers: { 'WWW-Authenticate': 'Basic realm="Twilio API"' },
};

/**
 * Answers like `verify.twilio.com`, with its rules: one pending verification for a number, whose code is repeated; five
 * sends, five checks, ten minutes. Written against Twilio's documents and API description, not against our provider file.
 */
export const twilioVerifySimulator: SimulatorDefinition = {
  id: 'twilio-verify',
  environment: (url) => ({
    TWILIO_ACCOUNT_SID: ACCOUNT_SID,
    TWILIO_AUTH_TOKEN: AUTH_TOKEN,
    TWILIO_VERIFY_SERVICE_SID: SERVICE_SID,
    TWILIO_VERIFY_BASE_URL: url,
  }),
  start: (options) => startTwilioVerify(options),
};

/** @param options with a clock for tests */
export function startTwilioVerify(
  options: SimulatorOptions & { readonly now?: () => number } = {},
): Promise<Simulator> {
  const { now = Date.now } = options;
  const verifications = new Map<string, Verification>();
  const usedCodes = new Set<string>();
  const servicePath = `/v2/Services/${SERVICE_SID}`;

  return startHttpSimulator(
    {
      delivery: [{ status: 'sent' }, { status: 'delivered' }],
      refusals: {
        'bad-number': invalid('To', '+998901234567'),
        throttle: {
          ...twilioError(429, 20429, { message: 'Too many requests' }),
          headers: { 'Retry-After': '2', 'Twilio-Reached-Rate-Limit': 'per-number' },
        },
        credentials: unauthorized,
        // There is no error of its own for an empty balance: the account is suspended.
        balance: twilioError(403, 20005, { message: 'Account not active' }),
        content: twilioError(400, 60228, { message: 'Template was not found' }),
      },
      answer(request, take) {
        if (!isLoggedIn(request)) return unauthorized;
        const { method, path, form, query } = request;
        if (method === 'GET' && path === servicePath) return { status: 200, body: serviceBody(request) };
        if (method === 'GET' && path === '/v2/Attempts') return listAttempts(query, request);
        if (method === 'POST' && path === `${servicePath}/Verifications`) return create(form, request, take);
        if (method === 'POST' && path === `${servicePath}/VerificationCheck`) return check(form) ?? notFound(request);
        const [, key] = new RegExp(`^${servicePath}/Verifications/([^/]+)$`).exec(path) ?? [];
        // A `+` in a path is itself, not a space.
        const found = key === undefined ? undefined : find(decodeURIComponent(key));
        if (found === undefined) return notFound(request);
        if (method === 'GET') return isReadable(found) ? ok(200, found, request) : notFound(request);
        return method === 'POST' ? (update(found, form, request) ?? notFound(request)) : notFound(request);
      },
      withoutId: (answer) => ({ ...answer, body: { ...(answer.body as object), sid: null } }),
      // There is no webhook: the state is kept for whoever asks.
      report: ({ id }, { status, errorCode }) => {
        const attempt = [...verifications.values()].flatMap(({ attempts }) => attempts).find(({ sid }) => sid === id);
        if (attempt !== undefined) Object.assign(attempt, { messageStatus: status, errorCode: errorCode ?? null });
        return undefined;
      },
    },
    options,
  );

  function isAlive({ createdAt }: Verification): boolean {
    return now() < createdAt + twilioVerifyRules.codeLifeMs;
  }

  /** A canceled one stays readable; one that was approved, or is over, is not there any more. */
  function isReadable(verification: Verification): boolean {
    return isAlive(verification) && verification.status !== 'approved';
  }

  /** The one that is in the way of a new one for this number, or in force. */
  function current(to: string): Verification | undefined {
    const isCurrent = (each: Verification) => each.status === 'pending' || each.status === 'max_attempts_reached';
    return [...verifications.values()].find((each) => each.to === to && isAlive(each) && isCurrent(each));
  }

  function find(key: string): Verification | undefined {
    return verifications.get(key) ?? current(key);
  }

  function create(form: SeenRequest['form'], request: SeenRequest, take: (message: SimulatedMessage) => void): Answer {
    const { To = '', Channel = '', Locale, CustomCode } = form;
    if (!channels.includes(Channel)) return invalid('Channel', Channel);
    const isAddress = Channel === 'email' ? /^[^@\s]+@[^@\s]+$/.test(To) : /^\+[1-9]\d{6,14}$/.test(To);
    if (!isAddress) return invalid('To', To);
    if (CustomCode !== undefined) return twilioError(400, 60204, { message: 'Custom code is not enabled' });
    if (Locale !== undefined && !locales.has(Locale)) return notFound(request);
    const pending = current(To);
    if (pending?.status === 'max_attempts_reached')
      return twilioError(429, 60202, { message: 'Max check attempts reached' });
    if (pending !== undefined && pending.attempts.length >= twilioVerifyRules.maxSends)
      return twilioError(429, 60203, { message: 'Max send attempts reached' });
    const verification = pending ?? begin(To, Channel);
    const attempt = {
      sid: newSid('VL'),
      at: now(),
      channel: Channel,
      locale: Locale ?? 'en',
      messageStatus: 'queued',
      errorCode: null,
    };
    verification.attempts.push(attempt);
    Object.assign(verification, { channel: Channel, updatedAt: now() });
    const text = `Your ${SERVICE_NAME} verification code is: ${verification.code}`;
    take({ id: attempt.sid, to: To, text, reportUrl: undefined, fields: form });
    return ok(201, verification, request);
  }

  function begin(to: string, channel: string): Verification {
    const at = now();
    const verification: Verification = {
      sid: newSid('VE'),
      to,
      channel,
      code: drawCode(),
      status: 'pending',
      createdAt: at,
      updatedAt: at,
      checks: 0,
      attempts: [],
    };
    verifications.set(verification.sid, verification);
    return verification;
  }

  /** None twice, so that a code of one verification is wrong for every other. */
  function drawCode(): string {
    const code = String(randomInt(10 ** CODE_LENGTH)).padStart(CODE_LENGTH, '0');
    if (usedCodes.has(code)) return drawCode();
    usedCodes.add(code);
    return code;
  }

  /** Undefined where there is nothing to check: never sent, approved, expired, canceled. */
  function check({ To, VerificationSid, Code }: SeenRequest['form']): Answer | undefined {
    if (Code === undefined || !/^\w{4,10}$/.test(Code)) return invalid('Code', Code);
    if (To === undefined && VerificationSid === undefined) return invalid('To');
    const verification = VerificationSid === undefined ? current(To ?? '') : verifications.get(VerificationSid);
    if (verification === undefined || !isAlive(verification)) return undefined;
    if (verification.status === 'max_attempts_reached')
      return twilioError(429, 60202, { message: 'Max check attempts reached' });
    if (verification.status !== 'pending') return undefined;
    verification.checks += 1;
    verification.updatedAt = now();
    const isRight = verification.code === Code;
    if (isRight) verification.status = 'approved';
    const answer = { status: 200, body: checkBody(verification) };
    if (!isRight && verification.checks >= twilioVerifyRules.maxChecks) verification.status = 'max_attempts_reached';
    return answer;
  }

  /** Only a pending one can be changed. */
  function update(
    verification: Verification,
    { Status }: SeenRequest['form'],
    request: SeenRequest,
  ): Answer | undefined {
    if (Status !== 'canceled' && Status !== 'approved') return invalid('Status', Status);
    if (verification.status !== 'pending' || !isAlive(verification)) return undefined;
    Object.assign(verification, { status: Status, updatedAt: now() });
    return ok(200, verification, request);
  }

  function listAttempts(query: URLSearchParams, request: SeenRequest): Answer {
    const sid = query.get('VerificationSid');
    const shown = [...verifications.values()].filter((each) => sid === null || each.sid === sid);
    const url = `${originOf(request)}/v2/Attempts?PageSize=${query.get('PageSize') ?? '50'}&Page=0`;
    const meta = { key: 'attempts', page: 0, page_size: Number(query.get('PageSize') ?? 50), first_page_url: url };
    return {
      status: 200,
      body: {
        attempts: shown.flatMap((each) => each.attempts.map((attempt) => attemptBody(each, attempt, request))),
        meta: { ...meta, previous_page_url: null, url, next_page_url: null },
      },
    };
  }
}

function isLoggedIn({ headers }: SeenRequest): boolean {
  const [scheme, credentials = ''] = (headers.authorization ?? '').split(' ');
  const login = Buffer.from(credentials, 'base64').toString();
  return scheme?.toLowerCase() === 'basic' && (login === `${ACCOUNT_SID}:${AUTH_TOKEN}` || login === API_KEY);
}

function notFound({ path }: SeenRequest): Answer {
  const resource = path.replace(/^\/v2/, '');
  return twilioError(404, 20404, { message: `The requested resource ${resource} was not found` });
}

const originOf = ({ headers }: SeenRequest) => `http://${headers.host}`;
const dateOf = (at: number) => new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');

/** Source: https://www.twilio.com/docs/verify/api/verification (read 2026-11-20). */
function ok(httpStatus: number, verification: Verification, request: SeenRequest): Answer {
  const { sid, to, channel, status, createdAt, updatedAt, attempts } = verification;
  const body = {
    sid,
    service_sid: SERVICE_SID,
    account_sid: ACCOUNT_SID,
    to,
    channel,
    status,
    valid: status === 'approved',
    lookup: {},
    amount: null,
    payee: null,
    send_code_attempts: attempts.map((attempt) => ({
      time: dateOf(attempt.at),
      channel: attempt.channel === 'whatsapp' ? 'whatsapp' : attempt.channel.toUpperCase(),
      attempt_sid: attempt.sid,
    })),
    sna: null,
    date_created: dateOf(createdAt),
    date_updated: dateOf(updatedAt),
    url: `${originOf(request)}/v2/Services/${SERVICE_SID}/Verifications/${sid}`,
  };
  return { status: httpStatus, body };
}

/** Source: https://www.twilio.com/docs/verify/api/verification-check (read 2026-11-20). */
function checkBody({ sid, to, channel, status, createdAt, updatedAt }: Verification) {
  return {
    sid,
    service_sid: SERVICE_SID,
    account_sid: ACCOUNT_SID,
    to,
    channel,
    status,
    valid: status === 'approved',
    amount: null,
    payee: null,
    sna_attempts_error_codes: [],
    date_created: dateOf(createdAt),
    date_updated: dateOf(updatedAt),
  };
}

/** Source: https://www.twilio.com/docs/verify/api/attempts (read 2026-11-20). */
function attemptBody({ sid, to, status, updatedAt }: Verification, attempt: Attempt, request: SeenRequest) {
  const isConverted = status === 'approved';
  return {
    sid: attempt.sid,
    account_sid: ACCOUNT_SID,
    service_sid: SERVICE_SID,
    verification_sid: sid,
    date_created: dateOf(attempt.at),
    date_updated: dateOf(updatedAt),
    conversion_status: isConverted ? 'converted' : 'unconverted',
    channel: attempt.channel,
    price: { value: null, currency: 'usd' },
    channel_data: {
      verification_sid: sid,
      to,
      status: isConverted ? 'confirmed' : 'unconfirmed',
      message_status: attempt.messageStatus,
      error_code: attempt.errorCode,
      country: null,
      code_length: CODE_LENGTH,
      locale: attempt.locale,
      mcc: null,
      mnc: null,
      carrier: null,
    },
    url: `${originOf(request)}/v2/Attempts/${attempt.sid}`,
  };
}

/** Source: https://www.twilio.com/docs/verify/api/service (read 2026-11-20). */
function serviceBody(request: SeenRequest) {
  const url = `${originOf(request)}/v2/Services/${SERVICE_SID}`;
  const passkeys = { relying_party: { id: null, name: null, origins: null } };
  return {
    sid: SERVICE_SID,
    account_sid: ACCOUNT_SID,
    friendly_name: SERVICE_NAME,
    code_length: CODE_LENGTH,
    lookup_enabled: false,
    psd2_enabled: false,
    skip_sms_to_landlines: false,
    dtmf_input_required: false,
    tts_name: null,
    do_not_share_warning_enabled: false,
    custom_code_enabled: false,
    push: { include_date: false, apn_credential_sid: null, fcm_credential_sid: null },
    totp: { issuer: SERVICE_NAME, time_step: 30, code_length: 6, skew: 1 },
    whatsapp: { msg_service_sid: null, from: null },
    passkeys: { ...passkeys, authenticator_attachment: null, discoverable_credentials: null, user_verification: null },
    default_template_sid: null,
    verify_event_subscription_enabled: false,
    date_created: '2026-01-01T00:00:00Z',
    date_updated: '2026-01-01T00:00:00Z',
    url,
    links: {
      verification_checks: `${url}/VerificationCheck`,
      verifications: `${url}/Verifications`,
      rate_limits: `${url}/RateLimits`,
      messaging_configurations: `${url}/MessagingConfigurations`,
      entities: `${url}/Entities`,
      webhooks: `${url}/Webhooks`,
      access_tokens: `${url}/AccessTokens`,
    },
  };
}
