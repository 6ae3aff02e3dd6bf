import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { DeliveryReport, ReportOutcome, ReportRequest } from '../../domain/provider.ts';
import { fieldsOf, type HttpClient } from '../../provider-kit/http-client.ts';
import { forged, jsonOf, malformed, reported, wordOf } from '../../provider-kit/reading.ts';

/** SNS tries for an hour; its clock and ours may differ. */
const OLDEST_MS = 2 * 3_600_000;
const NEWEST_MS = 15 * 60_000;
const DEADLINE_MS = 10_000;

/** Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html (read 2026-11-20). */
const signedFields: ReadonlyMap<string, readonly string[]> = new Map([
  ['Notification', ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type']],
  ['SubscriptionConfirmation', ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type']],
  ['UnsubscribeConfirmation', ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type']],
]);

/**
 * Reads what a topic of Amazon SNS posts, and confirms the subscription. The certificate of SNS has to be fetched before a
 * first signature can be checked, and reading cannot wait for that: such a report is answered at once, and told to the
 * listener of `onReport` when it turns out to be genuine.
 * @param topicArn the only topic that is believed: others are signed by SNS as well
 * @param read reads what was published, as JSON
 * @param baseUrl where a simulator is, which may take the place of SNS
 */
export function readSns(
  topicArn: string,
  read: (message: Readonly<Record<string, unknown>>) => ReportOutcome,
  baseUrl: string | undefined,
  http: HttpClient,
  now: () => number,
) {
  const keys = new Map<string, KeyObject>();
  const downloads = new Map<string, Promise<KeyObject | undefined>>();
  let listener: (report: DeliveryReport) => void = () => {};

  /** Only what SNS itself serves may say who SNS is. */
  function isOfSns(url: unknown, path: RegExp): url is string {
    if (typeof url !== 'string' || !URL.canParse(url)) return false;
    const { origin, pathname, search } = new URL(url);
    const isSns = /^https:\/\/sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$/.test(origin);
    return (isSns || (baseUrl !== undefined && origin === new URL(baseUrl).origin)) && path.test(pathname + search);
  }

  function download(url: string): Promise<KeyObject | undefined> {
    const running =
      downloads.get(url) ??
      http
        .get(url, { signal: AbortSignal.timeout(DEADLINE_MS) })
        .then((reply) => {
          const key = reply.kind === 'reply' && reply.status === 200 ? keyOf(reply.text) : undefined;
          if (key !== undefined) keys.set(url, key);
          return key;
        })
        .finally(() => downloads.delete(url));
    downloads.set(url, running);
    return running;
  }

  function readSigned({ Type: type, SubscribeURL: subscribeUrl, Message: message }: SnsMessage): ReportOutcome {
    if (type === 'Notification') return read(fieldsOf(parsed(message)));
    // Being asked for this address is how SNS learns that we want to hear of the topic.
    if (type === 'SubscriptionConfirmation' && isOfSns(subscribeUrl, /Action=ConfirmSubscription/))
      void http.get(subscribeUrl, { signal: AbortSignal.timeout(DEADLINE_MS) });
    return reported();
  }

  return {
    onReport(next: (report: DeliveryReport) => void): void {
      listener = next;
    },

    parseReport(request: ReportRequest): ReportOutcome {
      const message: SnsMessage = fieldsOf(jsonOf(request));
      if (!signedFields.has(wordOf(message['Type']))) return malformed;
      const ageMs = now() - Date.parse(wordOf(message['Timestamp']));
      const isInTime = ageMs <= OLDEST_MS && ageMs >= -NEWEST_MS;
      const certificateUrl = message['SigningCertURL'];
      const isOurs = message['TopicArn'] === topicArn && isInTime;
      if (!isOurs || !isOfSns(certificateUrl, /^\/SimpleNotificationService-[0-9a-f]+\.pem$/)) return forged;
      const key = keys.get(certificateUrl);
      if (key !== undefined) return isSigned(message, key) ? readSigned(message) : forged;
      void download(certificateUrl).then((fetched) => {
        if (fetched === undefined || !isSigned(message, fetched)) return;
        const outcome = readSigned(message);
        for (const report of outcome.kind === 'reports' ? outcome.reports : []) listener(report);
      });
      return reported();
    },
  };
}

type SnsMessage = Readonly<Record<string, unknown>>;

/** Of a certificate, or of a bare public key. */
function keyOf(pem: string | undefined): KeyObject | undefined {
  try {
    return createPublicKey(pem ?? '');
  } catch {
    return undefined;
  }
}

function isSigned(message: SnsMessage, key: KeyObject): boolean {
  const { Type: type, Signature: signature, SignatureVersion: version } = message;
  // All of them are texts; what is no text cannot have been signed.
  const names = (signedFields.get(wordOf(type)) ?? []).filter((name) => typeof message[name] === 'string');
  const data = names.map((name) => `${name}\n${wordOf(message[name])}\n`).join('');
  const algorithm = version === '1' ? 'sha1' : version === '2' ? 'sha256' : undefined;
  if (algorithm === undefined || typeof signature !== 'string') return false;
  return verify(algorithm, Buffer.from(data), key, Buffer.from(signature, 'base64'));
}

function parsed(message: unknown): unknown {
  try {
    return JSON.parse(wordOf(message)) as unknown;
  } catch {
    return undefined;
  }
}
