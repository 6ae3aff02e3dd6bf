import { Type } from 'typebox';
import type { Refusal } from '../../domain/problem.ts';
import { answer, type DialectAnswer, type DialectRoute, defineDialect, dialectRoute, kindOf, ok } from './dialect.ts';
import { detail, django, fieldErrors } from './django.ts';

const words = {
  verified: 'Phone verified successfully!',
  wrongCode: 'Invalid or expired OTP',
  badNumber: 'Enter a valid phone number.',
  tooMany: 'Too many OTP requests. Please try again later.',
} as const;

/**
 * The tailoring app of Saudi Arabia: Django REST Framework, for signed-in users. Its two kinds of users have paths of
 * their own, and a code of one is never good for the other.
 */
export const mgask = defineDialect({
  id: 'mgask',
  framework: django,
  refused,
  routes: [...routesOf('/api/core', 'customer'), ...routesOf('/api/riders', 'rider')],
});

function routesOf(path: string, purpose: string): DialectRoute[] {
  return [
    dialectRoute({
      path: `${path}/send-otp`,
      signedIn: true,
      body: Type.Object({ phone_number: Type.String({ minLength: 1 }) }),
      async handle({ body, caller, language, service }) {
        const { subject, locale = language, email } = caller;
        const sent = await service.start({
          to: digitsOf(body.phone_number),
          purpose,
          subject,
          ...(locale === undefined ? {} : { locale }),
          ...(email === undefined ? {} : { email }),
        });
        // In no mode does an answer hold the code.
        return sent.kind === 'refused' ? sent : ok({ success: true, message: `OTP sent to ${body.phone_number}` });
      },
    }),
    dialectRoute({
      path: `${path}/verify-otp`,
      signedIn: true,
      body: Type.Object({ otp_code: Type.String({ minLength: 1 }) }),
      async handle({ body, caller, service }) {
        const checked = await service.check({ subject: caller.subject, purpose, code: body.otp_code });
        return checked.kind === 'refused' ? checked : ok({ success: true, message: words.verified });
      },
    }),
  ];
}

/** Whatever is no digit is dropped, but for the sign of an international number. */
function digitsOf(typed: string): string {
  return `${typed.trimStart().startsWith('+') ? '+' : ''}${typed.replace(/\P{Nd}/gu, '')}`;
}

function refused(refusal: Refusal): DialectAnswer | undefined {
  switch (kindOf(refusal)) {
    case 'number':
      return fieldErrors({ phone_number: words.badNumber });
    case 'code':
    case 'wrong-code':
      return answer(400, { success: false, message: words.wrongCode });
    case 'too-many':
      return detail(429, words.tooMany, refusal);
    case 'not-sent':
    case 'no-provider':
    case 'other':
      return undefined;
  }
}
