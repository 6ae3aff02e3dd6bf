import { useEffect } from 'react';

export type Shortcuts = {
  readonly focusFilter: () => void;
  readonly clearFilter: () => void;
  readonly copyNewest: () => void;
  readonly copyFocused: () => void;
  readonly focusNext: () => void;
  readonly focusPrevious: () => void;
};

/**
 * The keys of the page.
 * @param withLetters whether single characters count: speech input and slips set them off, so they can be switched off
 */
export function useShortcuts(shortcuts: Shortcuts, withLetters: boolean): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
      const action = actionOf(event, withLetters);
      if (action === undefined) return;
      event.preventDefault();
      shortcuts[action]();
    };
    window.addEventListener('keydown', press);
    return () => window.removeEventListener('keydown', press);
  }, [shortcuts, withLetters]);
}

const everywhere: Readonly<Record<string, keyof Shortcuts>> = { Escape: 'clearFilter', ArrowDown: 'focusNext' };
const outsideFields: Readonly<Record<string, keyof Shortcuts>> = { ArrowUp: 'focusPrevious' };
const onMessages: Readonly<Record<string, keyof Shortcuts>> = { Enter: 'copyFocused' };
const letters: Readonly<Record<string, keyof Shortcuts>> = {
  '/': 'focusFilter',
  c: 'copyNewest',
  j: 'focusNext',
  k: 'focusPrevious',
};

/** Goes by the character and not by the key's place, so that the keys are those that the help names. */
function actionOf({ key, target }: KeyboardEvent, withLetters: boolean): keyof Shortcuts | undefined {
  if (key in everywhere) return everywhere[key];
  const element = target instanceof HTMLElement ? target : document.body;
  if (element.matches('input, textarea, select')) return undefined;
  return (
    outsideFields[key] ??
    (element.matches('article') ? onMessages[key] : undefined) ??
    (withLetters ? letters[key] : undefined)
  );
}
