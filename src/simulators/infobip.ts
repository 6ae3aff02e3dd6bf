import { randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, DeliveryStep, SimulatorDefinition } from './simulator-kit.ts';

const API_KEY = 'test-infobip-api-key';

const unauthorized: Answer = {
  status: 401,
  body: {
    errorCode: 'E401',
    description: 'The request lacks valid authentication credentials for the requested resource.',
    action: 'Check the resources and adjust authentication credentials.',
    violations: [],
    resources: [],
  },
};

const badRequest = (violation: string): Answer => ({
  status: 400,
  body: {
    errorCode: 'E400',
    description: 'Request cannot be processed.',
    action: 'Check the syntax, violations and adjust the request.',
    violations: [{ property: 'messages[0]', violation }],
    resources: [],
  },
});

const groups: Readonly<Record<number, string>> = {
  1: 'PENDING',
  2: 'UNDELIVERABLE',
  3: 'DELIVERED',
  4: 'EXPIRED',
  5: 'REJECTED',
};

const status = (groupId: number, id: number, name: string) => ({
  groupId,
  groupName: groups[groupId],
  id,
  name,
  description: name,
});

/** A refusal arrives as the status of a message that was answered with 200. */
const rejected = (id: number, name: string): Answer => ({
  status: 200,
  body: {
    bulkId: '2034072219640523072',
    messages: [
      { messageId: randomUUID(), status: status(5, id, name), destination: '0', details: { messageCount: 1 } },
    ],
  },
});

/** What a step of a delivery may be called here. */
const statuses: ReadonlyMap<string, readonly [groupId: number, id: number]> = new Map([
  ['PENDING_ENROUTE', [1, 7]],
  ['DELIVERED_TO_OPERATOR', [3, 2]],
  ['DELIVERED_TO_HANDSET', [3, 5]],
  ['UNDELIVERABLE_NOT_DELIVERED', [2, 9]],
  ['EXPIRED_EXPIRED', [4, 15]],
  ['REJECTED_NETWORK', [5, 6]],
]);

type SmsRequest = {
  readonly messages?: readonly {
    readonly sender?: string;
    readonly destinations?: readonly { readonly to?: string; readonly messageId?: string }[];
    readonly content?: { readonly text?: string };
    readonly webhooks?: { readonly delivery?: { readonly url?: string } };
  }[];
};

/**
 * Answers like `https://{account}.api.infobip.com`. Source: https://www.infobip.com/docs/api/channels/sms (read 2026-11-20);
 * written against that, not against our provider file.
 */
export const infobipSimulator: SimulatorDefinition = {
  id: 'infobip',
  environment: (url) => ({ INFOBIP_BASE_URL: url, INFOBIP_API_KEY: API_KEY, INFOBIP_FROM: 'Acme' }),
  start: (options) => {
    const seenIds = new Set<string>();
    return startHttpSimulator(
      {
        delivery: [{ status: 'DELIVERED_TO_OPERATOR' }, { status: 'DELIVERED_TO_HANDSET' }],
        refusals: {
          'bad-number': rejected(52, 'REJECTED_DESTINATION'),
          'refuse-inside-2xx': rejected(6, 'REJECTED_NETWORK'),
          throttle: {
            status: 429,
            body: {
              errorCode: 'E429',
              description: 'Too many requests sent.',
              action: '',
              violations: [],
              resources: [],
            },
            headers: { 'Retry-After': '2' },
          },
          credentials: unauthorized,
          balance: rejected(12, 'REJECTED_NOT_ENOUGH_CREDITS'),
          content: rejected(25, 'REJECTED_MESSAGE_TOO_LONG'),
        },
        answer: (request, take) => {
          if (request.headers.authorization !== `App ${API_KEY}`) return unauthorized;
          if (request.method === 'GET' && request.path === '/account/1/balance')
            return { status: 200, body: { balance: 47.79134, currency: 'EUR' } };
          if (request.method === 'GET' && request.path === '/sms/3/logs') return { status: 200, body: { results: [] } };
          if (request.method !== 'POST' || request.path !== '/sms/3/messages') return { status: 404, body: {} };
          const message = (request.json as SmsRequest | undefined)?.messages?.[0];
          const destination = message?.destinations?.[0];
          const text = message?.content?.text ?? '';
          if (destination?.to === undefined || text === '') return badRequest('must not be empty');
          if (!/^\d{8,15}$/.test(destination.to)) return rejected(52, 'REJECTED_DESTINATION');
          const messageId = destination.messageId ?? randomUUID();
          if (seenIds.has(messageId)) return rejected(23, 'REJECTED_DUPLICATE_MESSAGE_ID');
          seenIds.add(messageId);
          take({
            id: messageId,
            to: `+${destination.to}`,
            text,
            reportUrl: message?.webhooks?.delivery?.url,
            fields: { sender: message?.sender },
          });
          return { status: 200, body: acceptedBody(messageId, destination.to) };
        },
        withoutId: ({ status: code }) => ({ status: code, body: { bulkId: '1', messages: [{ destination: '0' }] } }),
        report: ({ id, to, reportUrl, fields }, step) =>
          reportUrl === undefined
            ? undefined
            : {
                url: reportUrl,
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({ results: [reportOf(id, to, fields['sender'], step)] }),
              },
      },
      options,
    );
  },
};

function acceptedBody(messageId: string, destination: string) {
  return {
    bulkId: '2034072219640523072',
    messages: [{ messageId, status: status(1, 26, 'PENDING_ACCEPTED'), destination, details: { messageCount: 1 } }],
  };
}

function reportOf(messageId: string, to: string, sender: unknown, step: DeliveryStep) {
  const [groupId, id] = statuses.get(step.status) ?? [0, 0];
  const errorId = Number(step.errorCode ?? 0);
  return {
    bulkId: '2034072219640523072',
    price: { pricePerMessage: 0.01, currency: 'EUR' },
    status: status(groupId, id, step.status),
    error: { groupId: 0, groupName: 'OK', id: errorId, name: 'NO_ERROR', description: 'No Error', permanent: false },
    messageId,
    to: to.slice(1),
    sender,
    sentAt: '2026-11-20T15:00:00.000+0000',
    doneAt: '2026-11-20T15:00:03.000+0000',
    messageCount: 1,
    platform: {},
  };
}
