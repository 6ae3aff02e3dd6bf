import { createHash, createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SeenRequest, SimulatorDefinition } from './simulator-kit.ts';

const ACCESS_KEY = 'AKIATESTTESTTESTTEST';
const SECRET = 'test-aws-secret';
const REGION = 'eu-central-1';
export const TEST_TOPIC = `arn:aws:sns:${REGION}:000000000000:countersign`;

/** Made anew in each process: nobody can have signed with it before. */
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const CERTIFICATE_PATH = '/SimpleNotificationService-0123456789abcdef.pem';

const refusal = (type: string, more: object = {}, status = 400): Answer => ({
  status,
  type: 'application/x-amz-json-1.0',
  body: { __type: `com.amazonaws.smsvoice#${type}`, Message: 'Refused', ...more },
});

/**
 * Answers like `sms-voice.<region>.amazonaws.com`, and posts events like SNS. Written against the documents of AWS, not
 * against our provider file: it checks Signature Version 4 by itself.
 */
export const awsSimulator: SimulatorDefinition = {
  id: 'aws',
  environment: (url) => ({
    AWS_ACCESS_KEY_ID: ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY: SECRET,
    AWS_REGION: REGION,
    AWS_SMS_ORIGINATION_IDENTITY: 'Acme',
    AWS_SMS_CONFIGURATION_SET: 'countersign',
    AWS_SMS_TOPIC_ARN: TEST_TOPIC,
    AWS_BASE_URL: url,
  }),
  async start(options = {}) {
    // Known once the server listens, and needed only when something is posted.
    let url = '';
    const simulator = await startHttpSimulator(
      {
        loginPath: CERTIFICATE_PATH,
        delivery: [{ status: 'TEXT_SENT' }, { status: 'TEXT_DELIVERED' }],
        refusals: {
          'bad-number': refusal('ValidationException', {
            Reason: 'INVALID_PARAMETER',
            Fields: [{ Name: 'DestinationPhoneNumber', Message: 'not a valid phone number' }],
          }),
          throttle: refusal('ThrottlingException'),
          credentials: refusal('UnrecognizedClientException'),
          balance: refusal('ServiceQuotaExceededException', { Reason: 'MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT' }),
          content: refusal('ValidationException', { Reason: 'SENDER_ID_NOT_REGISTERED' }),
        },
        answer: (request, take) => {
          if (request.path === CERTIFICATE_PATH)
            return { status: 200, type: 'text/plain', body: publicKey.export({ type: 'spki', format: 'pem' }) };
          if (request.query.get('Action') === 'ConfirmSubscription')
            return { status: 200, body: '<ConfirmSubscriptionResponse/>' };
          const fault = signatureFault(request);
          if (fault !== undefined) return fault;
          const target = request.headers['x-amz-target'];
          if (target === 'PinpointSMSVoiceV2.DescribeAccountAttributes')
            return { status: 200, body: { AccountAttributes: [{ Name: 'ACCOUNT_TIER', Value: 'PRODUCTION' }] } };
          if (target !== 'PinpointSMSVoiceV2.SendTextMessage') return refusal('UnknownOperationException');
          const fields = request.json as Readonly<Record<string, string>>;
          const { DestinationPhoneNumber: to = '', MessageBody: text = '' } = fields;
          if (!/^\+?[1-9][0-9]{1,18}$/.test(to))
            return refusal('ValidationException', { Fields: [{ Name: 'DestinationPhoneNumber', Message: 'pattern' }] });
          const id = randomUUID();
          take({ id, to, text, reportUrl: undefined, fields });
          return { status: 200, body: { MessageId: id } };
        },
        withoutId: ({ status }) => ({ status, body: {} }),
        report: ({ id, to, reportUrl, fields }, { status, isForged }) => {
          if (reportUrl === undefined || fields['ConfigurationSetName'] === undefined) return undefined;
          const event = awsEvent(id, status, { destinationPhoneNumber: to });
          const message = signSns({ Message: JSON.stringify(event) }, `${url}${CERTIFICATE_PATH}`);
          const body = isForged ? { ...message, Message: JSON.stringify({ ...event, isForged }) } : message;
          return {
            url: reportUrl,
            headers: { 'Content-Type': 'text/plain; charset=UTF-8' },
            body: JSON.stringify(body),
          };
        },
      },
      options,
    );
    url = simulator.url;
    return simulator;
  },
};

/** Source: https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-format.html (read 2026-11-20). */
export function awsEvent(messageId: string, eventType: string, more: object = {}): Record<string, unknown> {
  return {
    eventType,
    eventVersion: '1.0',
    eventTimestamp: 1_686_975_103_470,
    isFinal: !['TEXT_QUEUED', 'TEXT_PENDING', 'TEXT_SENT'].includes(eventType),
    originationPhoneNumber: 'Acme',
    isoCountryCode: 'UZ',
    messageId,
    messageRequestTimestamp: 1_686_975_103_170,
    messageEncoding: 'GSM',
    messageType: 'TRANSACTIONAL',
    messageStatus: eventType.replace('TEXT_', ''),
    totalMessageParts: 1,
    totalMessagePrice: 0.09582,
    totalCarrierFee: 0.003,
    ...more,
  };
}

/**
 * A message as SNS signs it. Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
 * (read 2026-11-20).
 * @param certificateUrl where the simulator's certificate is; a bare public key, which reads the same way
 */
export function signSns(fields: Readonly<Record<string, string>>, certificateUrl: string): Record<string, string> {
  const message: Record<string, string> = {
    Type: 'Notification',
    MessageId: randomUUID(),
    TopicArn: TEST_TOPIC,
    Timestamp: new Date().toISOString(),
    SignatureVersion: '2',
    SigningCertURL: certificateUrl,
    ...fields,
  };
  const signed =
    message['Type'] === 'Notification'
      ? ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type']
      : ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'];
  const data = signed.flatMap((name) => (message[name] === undefined ? [] : [`${name}\n${message[name]}\n`])).join('');
  const algorithm = message['SignatureVersion'] === '1' ? 'sha1' : 'sha256';
  return { ...message, Signature: sign(algorithm, Buffer.from(data), privateKey).toString('base64') };
}

/** Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (read 2026-11-20). */
function signatureFault({ method, path, query, headers, body }: SeenRequest): Answer | undefined {
  const form =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;
  const match = form.exec(headers.authorization ?? '');
  if (match === null) return refusal('MissingAuthenticationTokenException');
  const [, accessKey = '', day = '', region = '', service = '', names = '', given = ''] = match;
  const time = String(headers['x-amz-date'] ?? '');
  if (accessKey !== ACCESS_KEY) return refusal('UnrecognizedClientException');
  const signedNames = names.split(';');
  const isWhole = ['host', 'x-amz-date', 'x-amz-target'].every((name) => signedNames.includes(name));
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
  const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();
  const lines = signedNames.map((name) => `${name}:${String(headers[name]).trim()}\n`).join('');
  const canonical = [method, path, query.toString(), lines, names, sha256(body)].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', time, `${day}/${region}/${service}/aws4_request`, sha256(canonical)].join('\n');
  const key = [day, region, service, 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${SECRET}`);
  const isRight = region === REGION && service === 'sms-voice' && time.startsWith(day) && isWhole;
  return isRight && hmac(key, toSign).toString('hex') === given ? undefined : refusal('InvalidSignatureException');
}
