package standin;

/** An input or the host breaks a rule; the message says `what: rule, got X`. */
final class Refusal extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Refusal(String message) {
        super(message);
    }
}
