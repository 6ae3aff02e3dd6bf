import { setTimeout as delay } from 'node:timers/promises';
import { timeOfId } from '../../domain/id.ts';
import { MICROS, type Money } from '../../domain/price.ts';
import { costOf } from '../../domain/usage.ts';
import type { App } from '../../service/app.ts';
import type { MessageView } from '../../service/send-message.ts';
import type { VerificationView } from '../../service/views.ts';
import { type Call, dateOf, missing, ok, type Path, paramOf, urlOf } from './call.ts';
import { invalid, TwilioError } from './errors.ts';
import { listAnswer, pageRequestOf } from './lists.ts';
import { messageIdOf, sidOf, verificationIdOf } from './sids.ts';
import { channelWord } from './verifications.ts';

/** A message with a code, and the verification that it was for. */
type Attempt = { readonly message: MessageView; readonly verification: VerificationView };

export const attemptPaths: readonly Path[] = [
  {
    path: '/Attempts',
    async GET(call) {
      const request = pageRequestOf(call);
      const before = request.token === undefined ? undefined : messageIdOf(request.token);
      if (request.token !== undefined && before === undefined) throw invalid('PageToken', 'it is none of this list');
      const found: Attempt[] = [];
      // One more than the page, to know whether there is another.
      for await (const attempt of attemptsFor(call, filterOf(call), before, request.size + 1)) {
        found.push(attempt);
        if (found.length > request.size) break;
      }
      const shown = found.slice(0, request.size);
      const last = shown.at(-1);
      return listAnswer(call, '/Attempts', {
        key: 'attempts',
        items: shown.map((attempt) => toBody(call, attempt)),
        request,
        next: found.length > request.size && last !== undefined ? { token: sidOf('VL', last.message.id) } : undefined,
        // Attempts are read onwards only; but the first page can be had again.
        previous: request.page === 1 ? { token: undefined } : undefined,
      });
    },
  },
  {
    path: '/Attempts/Summary',
    async GET(call) {
      let total = 0;
      let converted = 0;
      for await (const attempt of attemptsFor(call, filterOf(call), undefined, BATCH)) {
        total += 1;
        if (isConverted(attempt)) converted += 1;
      }
      return ok({
        total_attempts: total,
        total_converted: converted,
        total_unconverted: total - converted,
        conversion_rate_percentage: total === 0 ? '0' : String(Number(((converted * 100) / total).toFixed(9))),
        url: urlOf(call, '/Attempts/Summary'),
      });
    },
  },
  {
    path: '/Attempts/:attempt',
    async GET(call) {
      const { countersign, app } = call;
      const id = messageIdOf(paramOf(call, 'attempt'));
      if (id === undefined) throw missing(call);
      const found = await countersign.messages.get({ app: app.id, id });
      if (found.kind === 'refused') throw missing(call);
      const [attempt] = await withVerifications(call, [found.message]);
      if (attempt === undefined) throw missing(call);
      return ok(toBody(call, attempt));
    },
  },
];

type Filter = {
  readonly query: { readonly to?: string; readonly verification?: string; readonly after?: number };
  readonly before: number | undefined;
  /** nothing can be found: it asks for what there cannot be */
  readonly isEmpty: boolean;
  readonly matches: (attempt: Attempt) => boolean;
};

function filterOf({ query, countersign, app }: Call): Filter {
  const after = query.instant('DateCreatedAfter');
  const before = query.instant('DateCreatedBefore');
  const to = query.recipient('ChannelData.To');
  const country = query.text('Country')?.toUpperCase();
  const prefix = query.recipient('DestinationPrefix')?.replace(/^\+?/, '+');
  const channel = query.choice('Channel', ['sms', 'call', 'email', 'whatsapp', 'rbm']);
  const status = query.choice('Status', ['converted', 'unconverted']);
  const service = query.text('VerifyServiceSid');
  const sid = query.text('VerificationSid');
  const verification = sid === undefined ? undefined : verificationIdOf(sid);
  const isNumber =
    to === undefined || to.includes('@') || countersign.numbers.parse({ app: app.id, to }).kind === 'parsed';
  return {
    query: {
      ...(to === undefined ? {} : { to }),
      ...(verification === undefined ? {} : { verification }),
      ...(after === undefined ? {} : { after }),
    },
    before,
    isEmpty: !isNumber || (sid !== undefined && verification === undefined),
    matches: (attempt) =>
      (country === undefined || attempt.message.country === country) &&
      (prefix === undefined || attempt.message.to.startsWith(prefix)) &&
      (channel === undefined || channelOf(attempt) === channel) &&
      (service === undefined || attempt.verification.purpose === service) &&
      (status === undefined || (status === 'converted') === isConverted(attempt)),
  };
}

const BATCH = 200;
/** Between two batches, so that other requests are not kept waiting by a walk through the history. */
const PAUSE_MS = 1;
const MOST_WALKS = 4;

/** How many of an app's requests are in the midst of its history, past their first batch. */
const walks = new WeakMap<App, number>();

/** Newest first. @param before of the page: the last one of the page before */
async function* attemptsFor(
  call: Call,
  filter: Filter,
  before: string | undefined,
  wanted: number,
): AsyncGenerator<Attempt> {
  if (filter.isEmpty) return;
  const { countersign, app } = call;
  const limit = Math.min(BATCH, wanted);
  let from: string | number | undefined = before ?? filter.before;
  let isWalking = false;
  try {
    for (;;) {
      const listed = await countersign.messages.list({
        app: app.id,
        carries: 'code',
        limit,
        ...filter.query,
        ...(from === undefined ? {} : { before: from }),
      });
      if (listed.kind === 'refused') return;
      for (const attempt of await withVerifications(call, listed.messages)) if (filter.matches(attempt)) yield attempt;
      const last = listed.messages.at(-1);
      if (last === undefined || listed.messages.length < limit) return;
      from = last.id;
      if (!isWalking) {
        const underWay = walks.get(app) ?? 0;
        if (underWay >= MOST_WALKS) throw new TwilioError(20429, 'Too many requests', { retryAfterSeconds: 1 });
        walks.set(app, underWay + 1);
        isWalking = true;
      }
      await delay(PAUSE_MS);
    }
  } finally {
    if (isWalking) walks.set(app, (walks.get(app) ?? 1) - 1);
  }
}

/** Those alone that were sent through here: their purpose is a service. */
async function withVerifications(
  { countersign, app }: Call,
  messages: readonly MessageView[],
): Promise<readonly Attempt[]> {
  const ids = [...new Set(messages.flatMap(({ verificationId }) => verificationId ?? []))];
  const answers = await Promise.all(ids.map((id) => countersign.verifications.get({ app: app.id, id })));
  const byId = new Map(
    answers.flatMap((answer) =>
      answer.kind === 'found' && isService(answer.verification.purpose)
        ? [[answer.verification.id, answer.verification] as const]
        : [],
    ),
  );
  return messages.flatMap((message) => {
    const verification = byId.get(message.verificationId ?? '');
    return verification === undefined ? [] : [{ message, verification }];
  });
}

function isService(purpose: string): boolean {
  return /^VA[0-9a-f]{32}$/.test(purpose);
}

/** The message that was approved with: the last one, as in our own figures. */
function isConverted({ message, verification }: Attempt): boolean {
  return verification.status === 'approved' && verification.messageIds.at(-1) === message.id;
}

function channelOf({ message }: Attempt): string {
  return channelWord(message.dispatches.at(-1)?.channel ?? message.channel);
}

function toBody(call: Call, attempt: Attempt) {
  const { message, verification } = attempt;
  const sid = sidOf('VL', message.id);
  const verificationSid = sidOf('VE', verification.id);
  const last = message.dispatches.at(-1);
  return {
    sid,
    account_sid: call.accountSid,
    service_sid: verification.purpose,
    verification_sid: verificationSid,
    date_created: dateOf(timeOfId(message.id)),
    date_updated: dateOf(last?.at ?? message.createdAt),
    conversion_status: isConverted(attempt) ? 'converted' : 'unconverted',
    channel: channelOf(attempt),
    price: priceOf(message),
    channel_data: {
      verification_sid: verificationSid,
      to: message.to,
      status: isConverted(attempt) ? 'confirmed' : verification.status === 'expired' ? 'expired' : 'unconfirmed',
      message_status: messageStatus(message.status),
      error_code: last?.errorCode ?? null,
      country: message.country ?? null,
      code_length: String(verification.codeLength),
      locale: verification.locale,
      mcc: null,
      mnc: null,
      carrier: null,
    },
    url: urlOf(call, `/Attempts/${sid}`),
  };
}

function messageStatus(status: MessageView['status']): string {
  if (status === 'pending') return 'queued';
  // The provider took it, and never said more.
  return status === 'unknown' ? 'sent' : status;
}

/** What all its hand-overs cost; without a value where no price is known, or they are in two currencies. */
function priceOf({ dispatches }: MessageView): { value: string | null; currency: string | null } {
  const costs = dispatches.map(costOf).filter((cost): cost is Money => cost !== undefined);
  const [currency, ...others] = new Set(costs.map((cost) => cost.currency));
  if (currency === undefined || others.length > 0) return { value: null, currency: null };
  const micros = costs.reduce((sum, cost) => sum + cost.micros, 0);
  return { value: String(micros / MICROS), currency: currency.toLowerCase() };
}
