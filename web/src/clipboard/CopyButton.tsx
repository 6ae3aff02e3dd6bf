import { Button } from '@mantine/core';
import { Icon } from '../theme/Icon.tsx';
import classes from './CopyButton.module.css';

type CopyButtonProps = {
  /** What is copied, for those who hear the button alone: `code 123456`. */
  readonly what: string;
  readonly isCopied: boolean;
  readonly onCopy: () => void;
};

export function CopyButton({ what, isCopied, onCopy }: CopyButtonProps) {
  return (
    <Button
      className={classes.button ?? ''}
      variant={isCopied ? 'filled' : 'default'}
      size="xs"
      leftSection={<Icon name={isCopied ? 'check' : 'copy'} size={16} />}
      aria-label={isCopied ? `Copied ${what}` : `Copy ${what}`}
      onClick={onCopy}
    >
      {isCopied ? 'Copied' : 'Copy'}
    </Button>
  );
}
