import type { IconName } from '../theme/Icon.tsx';

const channels: Readonly<Record<string, { readonly name: string; readonly icon: IconName }>> = {
  sms: { name: 'SMS', icon: 'sms' },
  voice: { name: 'Voice call', icon: 'voice' },
  whatsapp: { name: 'WhatsApp', icon: 'whatsapp' },
  telegram: { name: 'Telegram', icon: 'telegram' },
  email: { name: 'Email', icon: 'email' },
};

/** A channel that this page does not know yet goes by its own name. */
export function describeChannel(channel: string): { readonly name: string; readonly icon: IconName } {
  return channels[channel] ?? { name: channel, icon: 'sms' };
}
