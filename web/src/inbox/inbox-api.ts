/** A message as `GET /inbox/api/messages` and the events tell it. */
export type Message = {
  readonly id: string;
  /** ISO 8601 */
  readonly at: string;
  readonly to: string;
  readonly to_formatted: string;
  readonly channel: string;
  readonly locale: string;
  readonly text: string;
  readonly code?: string;
};

export type Example = { readonly to: string; readonly url: string; readonly api_key?: string };

// Relative to the page, which is at `<prefix>/inbox`.
const messagesPath = 'inbox/api/messages';
export const eventsPath = 'inbox/api/events';

export async function fetchMessages(): Promise<{ messages: Message[]; example: Example }> {
  const reply = await fetch(messagesPath);
  if (!reply.ok) throw new Error(`${messagesPath}: ${reply.status}`);
  return await reply.json();
}

export async function deleteMessages(): Promise<void> {
  const reply = await fetch(messagesPath, { method: 'DELETE' });
  if (!reply.ok) throw new Error(`${messagesPath}: ${reply.status}`);
}
