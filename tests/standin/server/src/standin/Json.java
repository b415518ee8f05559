package standin;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON in the types Map, List, String, Long, Double, Boolean and null. The runtime has no JSON of its own. */
final class Json {
    private static final int MAX_DEPTH = 32;
    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** The object in the text; a Refusal that starts with `what` when it is anything else. */
    static Map<String, Object> object(String what, String text) {
        try {
            Json json = new Json(text);
            Object value = json.value(0);
            json.space();
            if (json.at == text.length() && value instanceof Map<?, ?> map) {
                Map<String, Object> object = new LinkedHashMap<>();
                map.forEach((key, member) -> object.put((String) key, member));
                return object;
            }
        } catch (IllegalArgumentException | StringIndexOutOfBoundsException e) {
            // told below in one form
        }
        throw new Refusal(what + ": must be a JSON object");
    }

    private Object value(int depth) {
        space();
        char c = text.charAt(at);
        if (depth > MAX_DEPTH) {
            throw new IllegalArgumentException("nested too deep");
        }
        return switch (c) {
            case '{' -> map(depth);
            case '[' -> list(depth);
            case '"' -> string();
            case 't' -> word("true", Boolean.TRUE);
            case 'f' -> word("false", Boolean.FALSE);
            case 'n' -> word("null", null);
            default -> number();
        };
    }

    private Map<String, Object> map(int depth) {
        Map<String, Object> map = new LinkedHashMap<>();
        at++;
        while (more('}', map.isEmpty())) {
            space();
            String key = string();
            expect(':');
            map.put(key, value(depth + 1));
        }
        return map;
    }

    private List<Object> list(int depth) {
        List<Object> list = new ArrayList<>();
        at++;
        while (more(']', list.isEmpty())) {
            list.add(value(depth + 1));
        }
        return list;
    }

    private boolean more(char end, boolean first) {
        space();
        if (text.charAt(at) == end) {
            at++;
            return false;
        }
        if (!first) {
            expect(',');
        }
        return true;
    }

    private String string() {
        expect('"');
        StringBuilder out = new StringBuilder();
        while (text.charAt(at) != '"') {
            char c = text.charAt(at++);
            if (c < ' ') {
                throw new IllegalArgumentException("control character");
            }
            out.append(c == '\\' ? escaped() : c);
        }
        at++;
        return out.toString();
    }

    private char escaped() {
        char c = text.charAt(at++);
        switch (c) {
            case 'b': return '\b';
            case 'f': return '\f';
            case 'n': return '\n';
            case 'r': return '\r';
            case 't': return '\t';
            case 'u':
                at += 4;
                return (char) Integer.parseInt(text.substring(at - 4, at), 16);
            case '"', '\\', '/': return c;
            default: throw new IllegalArgumentException("escape");
        }
    }

    private Object number() {
        int start = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        String digits = text.substring(start, at);
        if (digits.matches("-?\\d{1,18}")) {
            return Long.valueOf(digits);
        }
        return Double.valueOf(digits);
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw new IllegalArgumentException("word");
        }
        at += word.length();
        return value;
    }

    private void expect(char c) {
        space();
        if (text.charAt(at++) != c) {
            throw new IllegalArgumentException("expected " + c);
        }
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    /** Compact JSON in one line. */
    static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(out, value);
        return out.toString();
    }

    private static void write(StringBuilder out, Object value) {
        if (value instanceof Map<?, ?> map) {
            String comma = "";
            out.append('{');
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                out.append(comma);
                quote(out, (String) entry.getKey());
                out.append(':');
                write(out, entry.getValue());
                comma = ",";
            }
            out.append('}');
        } else if (value instanceof List<?> list) {
            String comma = "";
            out.append('[');
            for (Object element : list) {
                out.append(comma);
                write(out, element);
                comma = ",";
            }
            out.append(']');
        } else if (value instanceof String string) {
            quote(out, string);
        } else {
            out.append(value);
        }
    }

    private static void quote(StringBuilder out, String string) {
        out.append('"');
        for (char c : string.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ' || c == '\u2028' || c == '\u2029') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }
}
