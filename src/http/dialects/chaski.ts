import { Type } from 'typebox';
import type { Refusal } from '../../domain/problem.ts';
import { type DialectAnswer, type DialectRoute, defineDialect, dialectRoute, kindOf, ok } from './dialect.ts';
import { detail, fastApi, valueError } from './fastapi.ts';

const words = {
  sent: 'Verification code sent',
  verified: 'Phone number verified',
  badNumber: 'the phone number must be in E.164 format, e.g. +12125551234',
  deafNumber: 'this phone number cannot receive verification codes',
  badCode: 'the code must have 6 digits',
  wrongCode: 'Invalid or expired verification code',
  tooMany: 'Too many requests. Please try again later.',
  notSent: 'The verification code could not be sent. Please try again later.',
  notChecked: 'The verification code could not be checked. Please try again later.',
} as const;

/** E.164 and nothing else: its page formats numbers before it sends them. */
const E164 = Type.String({ pattern: '^\\+[1-9]\\d{6,14}$' });

/** The delivery app: FastAPI, worldwide. */
export const chaski = defineDialect({
  id: 'chaski',
  framework: fastApi,
  refused,
  invalid: (faults) =>
    faults.some((fault) => fault.kind === 'pattern') ? valueError('phone_number', words.badNumber) : undefined,
  routes: [
    sendRoute('/api/auth/phone/send-code'),
    dialectRoute({
      path: '/api/auth/phone/verify',
      body: Type.Object({ phone_number: E164, code: Type.String() }),
      async handle({ body, service }) {
        const checked = await service.check({ to: body.phone_number, code: body.code });
        return checked.kind === 'refused' ? checked : ok({ success: true, message: words.verified, verified: true });
      },
    }),
    // A start repeats the code while it lives, so asking again is asking.
    sendRoute('/api/auth/phone/resend-code'),
  ],
});

function sendRoute(path: string): DialectRoute {
  return dialectRoute({
    path,
    body: Type.Object({ phone_number: E164 }),
    async handle({ body, service }) {
      const sent = await service.start({ to: body.phone_number });
      if (sent.kind === 'refused') return sent;
      return ok({ success: true, message: words.sent, expires_in: service.secondsLeft(sent.verification) });
    },
  });
}

function refused(refusal: Refusal): DialectAnswer | undefined {
  switch (kindOf(refusal)) {
    case 'number':
      return valueError('phone_number', refusal.code === 'number-invalid' ? words.badNumber : words.deafNumber);
    case 'code':
      return valueError('code', words.badCode);
    case 'wrong-code':
      return detail(400, words.wrongCode);
    case 'too-many':
      return detail(429, words.tooMany, refusal);
    case 'not-sent':
      return detail(502, refusal.code === 'check-unanswered' ? words.notChecked : words.notSent, refusal);
    case 'no-provider':
      return detail(503, words.notSent, refusal);
    case 'other':
      return undefined;
  }
}
