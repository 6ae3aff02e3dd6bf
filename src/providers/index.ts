import type { TObject } from 'typebox';
import type { ProviderDefinition } from '../provider-kit/define-provider.ts';
import { aws } from './aws.ts';
import { eskiz } from './eskiz.ts';
import { getsms } from './getsms.ts';
import { http } from './http.ts';
import { infobip } from './infobip.ts';
import { messaggio } from './messaggio.ts';
import { messaggioOtp } from './messaggio-otp.ts';
import { playmobile } from './playmobile.ts';
import { plivo } from './plivo.ts';
import { sinch } from './sinch.ts';
import { smpp } from './smpp.ts';
import { smtp } from './smtp.ts';
import { telegram } from './telegram.ts';
import { twilio } from './twilio.ts';
import { twilioVerify } from './twilio-verify.ts';
import { twilioVoice } from './twilio-voice.ts';
import { vonage } from './vonage.ts';
import { whatsapp } from './whatsapp.ts';

/** Every provider that credentials can switch on, in the order in which an app without routes tries them. */
export const providerDefinitions: readonly ProviderDefinition<TObject>[] = [
  eskiz as unknown as ProviderDefinition<TObject>,
  playmobile as unknown as ProviderDefinition<TObject>,
  getsms as unknown as ProviderDefinition<TObject>,
  messaggio as unknown as ProviderDefinition<TObject>,
  messaggioOtp as unknown as ProviderDefinition<TObject>,
  twilio as unknown as ProviderDefinition<TObject>,
  twilioVerify as unknown as ProviderDefinition<TObject>,
  vonage as unknown as ProviderDefinition<TObject>,
  infobip as unknown as ProviderDefinition<TObject>,
  plivo as unknown as ProviderDefinition<TObject>,
  sinch as unknown as ProviderDefinition<TObject>,
  aws as unknown as ProviderDefinition<TObject>,
  smpp as unknown as ProviderDefinition<TObject>,
  http as unknown as ProviderDefinition<TObject>,
  twilioVoice as unknown as ProviderDefinition<TObject>,
  whatsapp as unknown as ProviderDefinition<TObject>,
  telegram as unknown as ProviderDefinition<TObject>,
  smtp as unknown as ProviderDefinition<TObject>,
];
