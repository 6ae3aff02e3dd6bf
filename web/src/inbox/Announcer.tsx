import { VisuallyHidden } from '@mantine/core';
import { useCallback, useState } from 'react';

/** Says things to screen readers, one at a time. */
export function useAnnouncer() {
  const [said, setSaid] = useState({ text: '', count: 0 });
  const announce = useCallback((text: string) => setSaid(({ count }) => ({ text, count: count + 1 })), []);
  return { said, announce };
}

export function Announcer({ said }: { readonly said: { readonly text: string; readonly count: number } }) {
  return (
    <VisuallyHidden role="status" aria-live="polite">
      {/* A new element each time: the same text twice in a row is otherwise no change, and is not read. */}
      <span key={said.count}>{said.text}</span>
    </VisuallyHidden>
  );
}
