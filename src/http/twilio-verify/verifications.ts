import { timeOfId } from '../../domain/id.ts';
import type { Channel } from '../../domain/provider.ts';
import { isAppHash } from '../../domain/text-ending.ts';
import type { StartRequest } from '../../service/start-verification.ts';
import type { VerificationView } from '../../service/views.ts';
import { type Call, created, dateOf, missing, ok, type Path, paramOf, urlOf } from './call.ts';
import { invalid, TwilioError, toTwilioError } from './errors.ts';
import type { Form } from './forms.ts';
import { limitsFor } from './rate-limits.ts';
import { isSafe } from './safe-list.ts';
import { friendlyNameOf, type Service, serviceOf } from './services.ts';
import { sidOf, verificationIdOf } from './sids.ts';
import { hasTextFor, templateSidOf } from './templates.ts';

export const verificationPaths: readonly Path[] = [
  {
    path: '/Services/:service/Verifications',
    async POST(call) {
      const service = await serviceOf(call);
      const { limits, nameOf } = await limitsFor(call, service);
      const answer = await call.countersign.verifications.start({ ...(await startRequestOf(call, service)), limits });
      if (answer.kind === 'refused') {
        const { limit, ...refusal } = answer;
        const name = limit === undefined ? undefined : nameOf(limit);
        throw toTwilioError({ ...refusal, ...(name === undefined ? {} : { limit: name }) }, call.resource);
      }
      return created(await toBody(call, service, answer.verification));
    },
  },
  {
    path: '/Services/:service/Verifications/:verification',
    async GET(call) {
      const service = await serviceOf(call);
      const verification = await verificationOf(call, service, paramOf(call, 'verification'));
      if (verification === undefined || !isReadable(verification, call.now)) throw missing(call);
      return ok(await toBody(call, service, verification));
    },
    async POST(call) {
      const service = await serviceOf(call);
      const { countersign, app, form } = call;
      form.required('Status');
      const status = form.choice('Status', ['canceled', 'approved']);
      const verification = await verificationOf(call, service, paramOf(call, 'verification'));
      if (verification === undefined) throw missing(call);
      const request = { app: app.id, id: verification.id };
      const answer =
        status === 'canceled'
          ? await countersign.verifications.cancel(request)
          : await countersign.verifications.approve(request);
      // Whatever it has become instead, it is not pending.
      if (answer.kind === 'refused') throw missing(call);
      return ok({ ...(await toBody(call, service, answer.verification)), date_updated: dateOf(call.now) });
    },
  },
  {
    path: '/Services/:service/VerificationCheck',
    async POST(call) {
      const service = await serviceOf(call);
      const { countersign, app, form } = call;
      const code = form.required('Code');
      refusePayments(form);
      const sid = form.text('VerificationSid');
      const to = form.recipient('To');
      const named = sid ?? to;
      if (named === undefined) throw invalid('To', 'it is missing, and so is VerificationSid');
      const verification = await verificationOf(call, service, named);
      const isFor = to === undefined || sid === undefined || verification?.to === canonical(call, to);
      if (verification === undefined || !isFor) throw missing(call);
      if (isUsedUp(verification, call.now)) throw checksUsedUp(call, verification);
      if (verification.status !== 'pending') throw missing(call);
      const answer = await countersign.verifications.check({
        app: app.id,
        id: verification.id,
        purpose: service.sid,
        code,
      });
      if (answer.kind === 'approved') return ok(toCheck(call, service, answer.verification));
      // Not an error: its sender asks by `status`.
      const isWrong = answer.code === 'code-wrong' || (answer.code === 'code-malformed' && CODE_CHARS.test(code));
      if (isWrong) return ok(toCheck(call, service, verification));
      if (answer.code === 'attempts-exhausted') throw checksUsedUp(call, verification);
      throw toTwilioError(answer, call.resource);
    },
  },
];

const channels: Readonly<Record<string, Channel | undefined>> = {
  sms: 'sms',
  call: 'voice',
  whatsapp: 'whatsapp',
  email: 'email',
  // Whichever the app's route says.
  auto: undefined,
};

/** Twilio's own, which nobody here can send by. */
const absentChannels = ['sna', 'push', 'totp', 'rcs', 'rbm', 'ts43', 'passkeys'];

/** What Twilio takes for a code, right or wrong. */
const CODE_CHARS = /^.{4,10}$/u;

const MOST_TAGS = 10;
const MAX_TAG_CHARS = 128;

async function startRequestOf(call: Call, service: Service): Promise<StartRequest> {
  const { app, form } = call;
  const to = form.recipient('To') ?? form.required('To');
  const channel = channelOf(form);
  if (to.includes('@') !== (channel === 'email'))
    throw invalid('To', channel === 'email' ? 'it must be an e-mail address' : 'it must be a phone number');
  const number = channel === 'email' ? undefined : numberOf(call, to);
  refusePayments(form);
  if (form.text('SendDigits') !== undefined) throw invalid('SendDigits', 'extensions are not dialled here');
  form.choice('RiskCheck', ['enable', 'disable']);
  for (const name of ['ChannelConfiguration', 'TemplateCustomSubstitutions']) form.object(name);
  const code = form.text('CustomCode');
  if (code !== undefined && !service.isCustomCodeEnabled)
    throw new TwilioError(60204, 'Custom codes are not enabled for this service');
  if (code !== undefined && !/^\d{4,10}$/.test(code)) throw invalid('CustomCode', 'it must be 4 to 10 digits');
  const locale = form.text('Locale');
  if (locale !== undefined && !hasTextFor(app, locale)) throw missing(call);
  const template = form.text('TemplateSid');
  if (template !== undefined && template !== templateSidOf(app)) throw new TwilioError(60228, 'Template was not found');
  const appHash = form.text('AppHash');
  if (appHash !== undefined && !isAppHash(appHash))
    throw invalid('AppHash', 'it must be the 11 characters of an app hash');
  const tags = form.pairs('Tags', { most: MOST_TAGS, maxChars: MAX_TAG_CHARS });
  const clientIp = form.text('DeviceIp');
  return {
    app: app.id,
    to: number ?? to,
    purpose: service.sid,
    keepUntilExpiry: true,
    codeLength: service.codeLength,
    wording: { brand: friendlyNameOf(form, 'CustomFriendlyName') ?? service.friendlyName },
    ...(channel === undefined ? {} : { channel }),
    ...(code === undefined ? {} : { code }),
    ...(locale === undefined ? {} : { locale }),
    ...(appHash === undefined ? {} : { appHash, anyAppHash: true }),
    ...(clientIp === undefined ? {} : { clientIp }),
    ...(tags === undefined ? {} : { metadata: Object.fromEntries(tags) }),
    ...(number !== undefined && (await isSafe(call, number)) ? { skipPrefixLimit: true } : {}),
  };
}

function channelOf(form: Form): Channel | undefined {
  const named = form.required('Channel');
  if (absentChannels.includes(named)) throw new TwilioError(60223, `Delivery channel disabled: ${named}`);
  if (!Object.hasOwn(channels, named))
    throw invalid('Channel', `it must be one of ${Object.keys(channels).join(', ')}, in lower case`);
  return channels[named];
}

/** E.164 alone, as Twilio takes it: a national form is another number for each app. */
function numberOf({ countersign, app, resource }: Call, to: string): string {
  if (!to.startsWith('+')) throw invalid('To', 'it must be in E.164, e.g. +998901234567');
  const parsed = countersign.numbers.parse({ app: app.id, to });
  if (parsed.kind === 'refused') throw toTwilioError(parsed, resource);
  return parsed.number.number;
}

function refusePayments(form: Form): void {
  if (form.text('Amount') !== undefined || form.text('Payee') !== undefined)
    throw new TwilioError(60206, 'Amount and Payee need PSD2, which is not enabled for this service');
}

/** By its sid, or the newest of a number or an address; undefined when the service has no such one. */
async function verificationOf(
  { countersign, app }: Call,
  { sid: purpose }: Service,
  named: string,
): Promise<VerificationView | undefined> {
  const id = verificationIdOf(named);
  const found =
    id === undefined
      ? await countersign.verifications.find({ app: app.id, to: named, purpose })
      : await countersign.verifications.get({ app: app.id, id });
  return found.kind === 'found' && found.verification.purpose === purpose ? found.verification : undefined;
}

function canonical({ countersign, app }: Call, to: string): string {
  const parsed = countersign.numbers.parse({ app: app.id, to });
  return parsed.kind === 'parsed' ? parsed.number.number : to.toLowerCase();
}

/** Too many wrong codes: so it stays until its time is over, and then it is as if it had never been. */
function isUsedUp({ status, expiresAt }: VerificationView, now: number): boolean {
  return status === 'exhausted' && now < expiresAt;
}

function isReadable(verification: VerificationView, now: number): boolean {
  return verification.status === 'pending' || verification.status === 'canceled' || isUsedUp(verification, now);
}

function checksUsedUp({ now }: Call, { expiresAt }: VerificationView): TwilioError {
  return new TwilioError(60202, 'Max check attempts reached', {
    retryAfterSeconds: Math.max(1, Math.ceil((expiresAt - now) / 1000)),
  });
}

const statuses: Readonly<Record<VerificationView['status'], string>> = {
  pending: 'pending',
  approved: 'approved',
  canceled: 'canceled',
  expired: 'expired',
  exhausted: 'max_attempts_reached',
};

/** Twilio's word for a channel. */
export function channelWord(channel: string): string {
  return channel === 'voice' ? 'call' : channel;
}

function toCheck(call: Call, service: Service, verification: VerificationView) {
  return {
    sid: sidOf('VE', verification.id),
    service_sid: service.sid,
    account_sid: call.accountSid,
    to: verification.to,
    channel: channelWord(verification.channel),
    status: statuses[verification.status],
    valid: verification.status === 'approved',
    amount: null,
    payee: null,
    sna_attempts_error_codes: [],
    date_created: dateOf(verification.createdAt),
    date_updated: dateOf(verification.status === 'pending' ? lastSendAt(verification) : call.now),
  };
}

async function toBody(call: Call, service: Service, verification: VerificationView) {
  const { amount, payee, sna_attempts_error_codes: _, ...same } = toCheck(call, service, verification);
  return {
    ...same,
    date_updated: dateOf(lastSendAt(verification)),
    lookup: {},
    amount,
    payee,
    send_code_attempts: await attemptsOf(call, verification),
    sna: null,
    url: urlOf(call, `/Services/${service.sid}/Verifications/${same.sid}`),
  };
}

function lastSendAt({ messageIds, createdAt }: VerificationView): number {
  const last = messageIds.at(-1);
  return last === undefined ? createdAt : timeOfId(last);
}

async function attemptsOf({ countersign, app }: Call, { id, messageIds, channel }: VerificationView) {
  const channelBy = new Map<string, string>();
  if (messageIds.length > 1) {
    const listed = await countersign.messages.list({ app: app.id, verification: id, limit: messageIds.length });
    if (listed.kind === 'found') {
      for (const message of listed.messages)
        channelBy.set(message.id, message.dispatches.at(-1)?.channel ?? message.channel);
    }
  }
  return messageIds.map((messageId) => ({
    time: dateOf(timeOfId(messageId)),
    channel: attemptChannel(channelBy.get(messageId) ?? channel),
    attempt_sid: sidOf('VL', messageId),
  }));
}

/** As Twilio writes it here: `SMS`, `CALL`, `EMAIL`, but `whatsapp`. */
function attemptChannel(channel: string): string {
  return channel === 'whatsapp' ? channel : channelWord(channel).toUpperCase();
}
