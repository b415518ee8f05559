package standin;

/** The two options of the documented command line. Anything else is refused, so that a misspelt option is seen. */
record Ports(int server, int data) {
    private static final int DEFAULT_SERVER = 48080;

    static Ports parse(String[] args, int defaultData) {
        int server = DEFAULT_SERVER;
        int data = defaultData;
        for (String arg : args) {
            if (arg.startsWith("--server.port=")) {
                server = port("--server.port", arg);
            } else if (arg.startsWith("--data.port=")) {
                data = port("--data.port", arg);
            } else {
                throw new Refusal("argument: must be --server.port=N or --data.port=N, got " + arg);
            }
        }
        return new Ports(server, data);
    }

    private static int port(String option, String arg) {
        String text = arg.substring(option.length() + 1);
        if (text.matches("\\d{1,5}")) {
            int value = Integer.parseInt(text);
            if (value >= 1 && value <= 65535) {
                return value;
            }
        }
        throw new Refusal(option + ": must be 1 to 65535, got " + text);
    }
}
